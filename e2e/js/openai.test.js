// The official JavaScript SDK against the gateway: both APIs, on upstreams of either.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import OpenAI from "openai";
import { zodResponseFormat, zodTextFormat } from "openai/helpers/zod";
import { z } from "zod";
import { startGateway, startUpstream, stopAll } from "./gateway.js";

const PIXEL =
  "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";
const QUESTION = "What is the weather in Paris?";
const parameters = { type: "object", properties: { city: { type: "string" } }, required: ["city"], additionalProperties: false };
const Answer = z.object({ city: z.string(), degrees: z.number() });

after(stopAll);

for (const mode of ["chat", "responses"]) {
  describe(`on a ${mode} upstream`, () => {
    let client, script;
    before(async () => {
      const dialect = mode === "chat" ? "generic" : "openai";
      const connect = async (scenario) => {
        const upstream = await startUpstream("-dialect", dialect, "-apis", mode, "-scenario", scenario);
        const url = await startGateway({ OPENAI_BASE_URL: upstream, UPSTREAM_MODE: mode });
        return new OpenAI({ baseURL: url + "/v1", apiKey: "sk-of-the-client", maxRetries: 0 });
      };
      [client, script] = [await connect("demo"), await connect("text")];
    });

    test("models", async () => {
      const names = [];
      for await (const m of client.models.list()) names.push(m.id);
      assert.ok(names.includes("demo"));
    });

    test("chat", async () => {
      const r = await client.chat.completions.create({ model: "demo", messages: [{ role: "user", content: "Hello!" }] });
      assert.match(r.choices[0].message.content, /Hello!/);
      assert.equal(r.choices[0].finish_reason, "stop");
      assert.ok(r.usage.total_tokens > 0);
    });

    test("chat, streamed", async () => {
      const stream = client.chat.completions.stream({
        model: "demo",
        messages: [{ role: "user", content: "Hello!" }],
        stream_options: { include_usage: true },
      });
      let deltas = 0;
      stream.on("content", () => deltas++);
      const r = await stream.finalChatCompletion();
      assert.match(r.choices[0].message.content, /Hello!/);
      assert.ok(deltas > 3 && r.usage.total_tokens > 0);
    });

    test("chat, tools run by the SDK", async () => {
      let asked;
      const runner = client.chat.completions.runTools({
        model: "demo",
        messages: [{ role: "user", content: QUESTION }],
        tools: [
          {
            type: "function",
            function: {
              name: "get_weather",
              description: "The weather in a city",
              parameters,
              parse: JSON.parse,
              function: (args) => ((asked = args), "It is raining cats."),
            },
          },
        ],
      });
      assert.match(await runner.finalContent(), /raining cats/);
      assert.ok("city" in asked);
    });

    test("chat, structured", async () => {
      const r = await client.chat.completions.parse({
        model: "demo",
        messages: [{ role: "user", content: QUESTION }],
        response_format: zodResponseFormat(Answer, "answer"),
      });
      assert.ok(Answer.safeParse(r.choices[0].message.parsed).success);
    });

    test("chat, vision", async () => {
      const content = [{ type: "text", text: "What is this?" }, { type: "image_url", image_url: { url: PIXEL } }];
      const r = await client.chat.completions.create({ model: "demo", messages: [{ role: "user", content }] });
      assert.match(r.choices[0].message.content, /1 image\(s\)/);
    });

    test("responses", async () => {
      const r = await client.responses.create({ model: "demo", instructions: "Be brief.", input: "Hello!", store: false });
      assert.match(r.output_text, /Hello!/);
      assert.equal(r.status, "completed");
    });

    test("responses, streamed", async () => {
      const types = [];
      const stream = client.responses.stream({ model: "demo", input: "Hello!", store: false });
      for await (const event of stream) types.push(event.type);
      assert.equal(types[0], "response.created");
      assert.equal(types.at(-1), "response.completed");
      assert.match((await stream.finalResponse()).output_text, /Hello!/);
    });

    test("responses, tools", async () => {
      const tools = [{ type: "function", name: "get_weather", description: "The weather in a city", parameters, strict: true }];
      const input = [{ role: "user", content: QUESTION }];
      const first = await client.responses.create({ model: "demo", input, tools, store: false, include: ["reasoning.encrypted_content"] });
      const call = first.output.find((i) => i.type === "function_call");
      assert.equal(call.name, "get_weather");
      input.push(...first.output, { type: "function_call_output", call_id: call.call_id, output: "It is raining cats." });
      const second = await client.responses.create({ model: "demo", input, tools, store: false });
      assert.match(second.output_text, /raining cats/);
    });

    test("responses, structured", async () => {
      const r = await client.responses.parse({ model: "demo", input: QUESTION, text: { format: zodTextFormat(Answer, "answer") }, store: false });
      assert.ok(Answer.safeParse(r.output_parsed).success);
    });

    test("responses, vision", async () => {
      const content = [{ type: "input_text", text: "What is this?" }, { type: "input_image", image_url: PIXEL, detail: "auto" }];
      const r = await client.responses.create({ model: "demo", input: [{ role: "user", content }], store: false });
      assert.match(r.output_text, /1 image\(s\)/);
    });

    for (const [model, kind] of [
      ["fake-error400", OpenAI.BadRequestError],
      ["fake-error401", OpenAI.AuthenticationError],
      ["fake-error404", OpenAI.NotFoundError],
      ["fake-error429", OpenAI.RateLimitError],
      ["fake-error500", OpenAI.InternalServerError],
    ]) {
      test(`errors: ${model}`, async () => {
        for (const stream of [false, true]) {
          await assert.rejects(script.chat.completions.create({ model, messages: [{ role: "user", content: "x" }], stream }), kind);
          await assert.rejects(script.responses.create({ model, input: "x", stream, store: false }), kind);
        }
      });
    }

    test("a stream that breaks off is no answer", async () => {
      for (const model of ["fake-cut", "fake-midstream"]) {
        await assert.rejects(
          script.chat.completions.stream({ model, messages: [{ role: "user", content: "x" }] }).finalChatCompletion(),
        );
        let status = "broken off";
        try {
          for await (const event of await script.responses.create({ model, input: "x", stream: true, store: false })) {
            if (event.type === "response.completed") status = "completed";
          }
        } catch {
          // the SDK throws on an error event, and where the connection ends
        }
        assert.equal(status, "broken off", model);
      }
    });
  });
}
