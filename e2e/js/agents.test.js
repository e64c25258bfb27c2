// The OpenAI Agents SDK for JavaScript against the gateway.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { Agent, OpenAIChatCompletionsModel, OpenAIResponsesModel, run, setTracingDisabled, tool } from "@openai/agents";
import OpenAI from "openai";
import { z } from "zod";
import { startGateway, startUpstream, stopAll } from "./gateway.js";

setTracingDisabled(true);
after(stopAll);

const calls = [];
const getWeather = tool({
  name: "get_weather",
  description: "The weather in a city",
  parameters: z.object({ city: z.string() }),
  execute: async ({ city }) => {
    calls.push(city);
    return "It is raining cats.";
  },
});

for (const mode of ["chat", "responses"]) {
  for (const Model of [OpenAIResponsesModel, OpenAIChatCompletionsModel]) {
    describe(`${Model.name} on a ${mode} upstream`, () => {
      let model;
      before(async () => {
        const upstream = await startUpstream("-dialect", mode === "chat" ? "generic" : "openai", "-apis", mode);
        const url = await startGateway({ OPENAI_BASE_URL: upstream, UPSTREAM_MODE: mode });
        model = new Model(new OpenAI({ baseURL: url + "/v1", apiKey: "sk-x", maxRetries: 0 }), "demo");
      });

      test("a tool loop", async () => {
        calls.length = 0;
        const agent = new Agent({ name: "weather", instructions: "Use tools.", model, tools: [getWeather] });
        const result = await run(agent, "What is the weather in Paris?");
        assert.equal(calls.length, 1);
        assert.match(result.finalOutput, /raining cats/);
      });

      test("streamed", async () => {
        calls.length = 0;
        const agent = new Agent({ name: "weather", model, tools: [getWeather] });
        const result = await run(agent, "What is the weather in Paris?", { stream: true });
        let text = "";
        for await (const chunk of result.toTextStream()) text += chunk;
        await result.completed;
        assert.equal(calls.length, 1);
        assert.match(text, /raining cats/);
      });

      test("structured", async () => {
        const agent = new Agent({ name: "weather", model, outputType: z.object({ city: z.string(), wet: z.boolean() }) });
        const result = await run(agent, "Is it wet in Paris?");
        assert.equal(typeof result.finalOutput.wet, "boolean");
      });
    });
  }
}
