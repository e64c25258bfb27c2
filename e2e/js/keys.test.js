// Keys of the gateway, as a client meets them.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import OpenAI from "openai";
import { startGateway, startUpstream, stopAll } from "./gateway.js";

let url;
before(async () => {
  const upstream = await startUpstream("-dialect", "generic", "-apis", "chat", "-key", "sk-of-the-provider");
  url = await startGateway({ OPENAI_BASE_URL: upstream, UPSTREAM_MODE: "chat", OPENAI_API_KEY: "sk-of-the-provider" });
});
after(stopAll);

async function post(path, body) {
  const r = await fetch(url + path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });
  assert.equal(r.status, 200);
  return r.json();
}

const ask = (apiKey) =>
  new OpenAI({ baseURL: url + "/v1", apiKey, maxRetries: 0 }).responses.create({ model: "demo", input: "Hello!", store: false });

test("minted, used, revoked", async () => {
  await assert.rejects(ask("sk-of-the-provider"), OpenAI.AuthenticationError);
  const key = await post("/keys/generate", { label: "svc", ttl_seconds: 86400 });
  assert.match((await ask(key.token)).output_text, /Hello!/);
  assert.equal((await post("/keys/revoke", { id: key.id })).revoked, true);
  await assert.rejects(ask(key.token), OpenAI.AuthenticationError);
});

test("limited", async () => {
  const key = await post("/keys/generate", { rpm: 1 });
  await ask(key.token);
  await assert.rejects(ask(key.token), OpenAI.RateLimitError);
});
