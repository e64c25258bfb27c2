// The official filesystem server as tools of the gateway.
import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import OpenAI from "openai";
import { startGateway, startUpstream, stopAll } from "./gateway.js";

const folder = mkdtempSync(path.join(tmpdir(), "chat2response-e2e-"));
const server = path.resolve(path.dirname(fileURLToPath(import.meta.url)), "..", "node_modules", ".bin", "mcp-server-filesystem");
const QUESTION = "Which directories are allowed?";
let client;

before(async () => {
  const file = path.join(folder, "mcp.json");
  writeFileSync(file, JSON.stringify({ mcpServers: { files: { command: server, args: [folder], required: true } } }));
  const upstream = await startUpstream("-dialect", "generic", "-apis", "chat");
  const url = await startGateway({ OPENAI_BASE_URL: upstream, UPSTREAM_MODE: "chat" }, file);
  client = new OpenAI({ baseURL: url + "/v1", apiKey: "sk-x", maxRetries: 0 });
});
after(async () => {
  await stopAll();
  rmSync(folder, { recursive: true, force: true });
});

test("chat", async () => {
  const r = await client.chat.completions.create({ model: "demo", messages: [{ role: "user", content: QUESTION }] });
  assert.ok(r.choices[0].message.content.includes(folder), r.choices[0].message.content);
});

test("responses, streamed", async () => {
  const stream = client.responses.stream({ model: "demo", input: QUESTION, store: false });
  const types = [];
  for await (const event of stream) types.push(event.type);
  const r = await stream.finalResponse();
  assert.ok(r.output.find((i) => i.type === "mcp_call")?.output.includes(folder));
  assert.ok(types.includes("response.mcp_call.in_progress"));
});
