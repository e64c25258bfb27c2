// What the gateway remembers for an upstream that remembers nothing.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import OpenAI from "openai";
import { startGateway, startUpstream, stopAll } from "./gateway.js";

let client;
before(async () => {
  const upstream = await startUpstream("-dialect", "vllm", "-apis", "chat");
  const url = await startGateway({ OPENAI_BASE_URL: upstream, UPSTREAM_MODE: "chat" });
  client = new OpenAI({ baseURL: url + "/v1", apiKey: "sk-x", maxRetries: 0 });
});
after(stopAll);

test("a response is continued by its id", async () => {
  const first = await client.responses.create({ model: "demo", input: "Hello!" });
  const second = await client.responses.create({ model: "demo", input: "And again!", previous_response_id: first.id });
  assert.equal((await client.responses.retrieve(second.id)).output_text, second.output_text);
  await client.responses.delete(first.id);
  await assert.rejects(client.responses.retrieve(first.id), OpenAI.NotFoundError);
});

test("a conversation grows", async () => {
  const conversation = await client.conversations.create({ metadata: { topic: "x" } });
  await client.responses.create({ model: "demo", input: "Hello!", conversation: conversation.id });
  const roles = [];
  for await (const item of client.conversations.items.list(conversation.id, { order: "asc" })) {
    if (item.type === "message") roles.push(item.role);
  }
  assert.deepEqual(roles, ["user", "assistant"]);
});
