// What the gateway remembers, in each of its stores, for an upstream of either API.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import OpenAI from "openai";
import { startRemembering, stopAll } from "./gateway.js";

const tools = [
  { type: "function", name: "get_weather", strict: false, parameters: { type: "object", properties: { city: { type: "string" } } } },
];

after(stopAll);

for (const mode of ["chat", "responses"]) {
  for (const store of ["memory", "bbolt", "redis"]) {
    describe(`${mode} upstream, ${store}`, () => {
      let client;
      before(async () => {
        const url = await startRemembering(mode, store);
        if (url) client = new OpenAI({ baseURL: url + "/v1", apiKey: "sk-x", maxRetries: 0 });
      });
      const check = (name, run) => test(name, (t) => (client ? run(client) : t.skip("no redis-server here")));
      const ask = (more) => client.responses.create({ model: "demo", ...more });

      check("ten turns by previous_response_id", async () => {
        let last;
        for (let turn = 0; turn < 10; turn++) {
          const input = `This is turn ${turn}.`;
          const request = { model: "demo", input, ...(last && { previous_response_id: last }) };
          const r = turn % 2 ? await client.responses.stream(request).finalResponse() : await client.responses.create(request);
          assert.ok(r.output_text.includes(input));
          assert.equal(r.previous_response_id ?? undefined, last);
          last = r.id;
        }
        assert.ok((await client.responses.retrieve(last)).output_text.includes("turn 9"));
        const own = [];
        for await (const item of client.responses.inputItems.list(last)) own.push(item.content[0].text);
        assert.deepEqual(own, ["This is turn 9."]);
      });

      check("what is deleted is gone", async () => {
        const first = await ask({ input: "Hello!" });
        await client.responses.delete(first.id);
        await assert.rejects(client.responses.retrieve(first.id), OpenAI.NotFoundError);
        await assert.rejects(ask({ input: "And now?", previous_response_id: first.id }), { code: "previous_response_not_found" });
      });

      check("a tool's output continues by id and by reference", async () => {
        const first = await ask({ input: "What is the weather in Paris?", tools });
        const call = first.output.find((i) => i.type === "function_call");
        const output = { type: "function_call_output", call_id: call.call_id, output: "It is raining cats." };
        const byID = await ask({ input: [output], previous_response_id: first.id, tools });
        assert.ok(byID.output_text.includes("raining cats"));
        const references = first.output.map((i) => ({ type: "item_reference", id: i.id }));
        const byReference = await ask({ input: [{ role: "user", content: "What is the weather in Paris?" }, ...references, output], tools });
        assert.ok(byReference.output_text.includes("raining cats"));
      });

      check("a conversation grows", async () => {
        const conversation = await client.conversations.create({ metadata: { topic: "x" } });
        await ask({ input: "Hello!", conversation: conversation.id });
        const roles = [];
        for await (const item of client.conversations.items.list(conversation.id, { order: "asc" })) {
          if (item.type === "message") roles.push(item.role);
        }
        assert.deepEqual(roles, ["user", "assistant"]);
        await client.conversations.delete(conversation.id);
        await assert.rejects(client.conversations.retrieve(conversation.id), OpenAI.NotFoundError);
      });

      check("a background response is resumed where its client lost it, and cancelled", async () => {
        const seen = [];
        let id;
        const stream = await client.responses.create({ model: "demo", input: "Tell me all of it.", background: true, stream: true });
        for await (const event of stream) {
          seen.push(event.sequence_number);
          if (event.type === "response.created") id = event.response.id;
          if (event.type === "response.output_text.delta") break; // which closes the connection
        }
        let end;
        for await (const event of await client.responses.retrieve(id, { stream: true, starting_after: seen.at(-1) })) {
          seen.push(event.sequence_number);
          end = event.type;
        }
        assert.deepEqual(seen, [...seen.keys()]);
        assert.equal(end, "response.completed");
        let other;
        for await (const event of await client.responses.create({ model: "demo", input: "word ".repeat(2000), background: true, stream: true })) {
          other = event.response.id;
          break;
        }
        assert.equal((await client.responses.cancel(other)).status, "cancelled");
      });
    });
  }
}
