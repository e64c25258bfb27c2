// Starts the real binary in front of a fake upstream. CHAT2RESPONSE_BIN and
// UPSTREAM_BIN may name binaries that are built already.
import { spawn, execFileSync } from "node:child_process";
import { createInterface } from "node:readline";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), "..", "..");
const running = [];
const folders = [];

function build(name, pkg) {
  const out = path.join(root, "e2e", ".bin", name);
  execFileSync("go", ["build", "-o", out, pkg], { cwd: root, stdio: "inherit" });
  return out;
}

const once = (make) => {
  let value;
  return () => (value ??= make());
};
const binary = once(() => process.env.CHAT2RESPONSE_BIN || build("chat2response", "./cmd/chat2response"));
const upstreamBinary = once(() => process.env.UPSTREAM_BIN || build("upstream", "./e2e/upstream"));

function freePort() {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.on("error", reject);
    server.listen(0, "127.0.0.1", () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });
}

// startUpstream starts a fake upstream and returns its base URL.
export async function startUpstream(...flags) {
  const p = spawn(upstreamBinary(), flags, { stdio: ["ignore", "pipe", "inherit"] });
  running.push(p);
  for await (const line of createInterface({ input: p.stdout })) return line;
  throw new Error("the upstream does not start");
}

// startGateway starts the gateway with the variables and arguments given and returns
// its URL.
export async function startGateway(env, ...args) {
  const folder = mkdtempSync(path.join(tmpdir(), "chat2response-e2e-"));
  folders.push(folder);
  const port = await freePort();
  const p = spawn(binary(), ["--keys-backend=memory", ...args], {
    cwd: folder,
    env: {
      PATH: process.env.PATH,
      HOME: folder,
      BIND_ADDR: `127.0.0.1:${port}`,
      CHAT2RESPONSE_ADMIN_ADDR: "off",
      ...env,
    },
    stdio: ["ignore", "ignore", "pipe"],
  });
  return answers(p, `http://127.0.0.1:${port}`);
}

// startRemembering starts a gateway that remembers, in a store, for an upstream of one
// API; null where there is no Redis for it.
export async function startRemembering(mode, store) {
  const folder = mkdtempSync(path.join(tmpdir(), "chat2response-e2e-"));
  folders.push(folder);
  const where = { memory: "memory", bbolt: `bbolt ${folder}/state.db`, redis: store === "redis" && `redis ${await redis()}` }[store];
  if (where === "redis null") return null;
  const dialect = { chat: "vllm", responses: "openai" }[mode];
  const upstream = await startUpstream("-dialect", dialect, "-apis", mode, "-delay", "10ms");
  const port = await freePort();
  writeFileSync(
    path.join(folder, "Caddyfile"),
    `{
	admin off
	storage file_system ${folder}
}
http://:${port} {
	bind 127.0.0.1
	chat2response ${upstream} {
		mode ${mode}
		dialect ${dialect}
		state local ${where}
	}
}
`,
  );
  const p = spawn(binary(), ["run", "--config", "Caddyfile"], {
    cwd: folder,
    env: { PATH: process.env.PATH, HOME: folder },
    stdio: ["ignore", "ignore", "pipe"],
  });
  return answers(p, `http://127.0.0.1:${port}`);
}

// redis starts a Redis of the tests' own and returns its URL, null without
// redis-server.
let redisURL;
function redis() {
  return (redisURL ??= (async () => {
    const port = await freePort();
    const p = spawn("redis-server", ["--port", port, "--save", "", "--appendonly", "no"], { stdio: "ignore" });
    const started = await new Promise((resolve) => {
      p.once("error", () => resolve(false));
      p.once("spawn", () => resolve(true));
    });
    if (!started) return null;
    running.push(p);
    for (let i = 0; i < 100; i++) {
      const open = await new Promise((resolve) => {
        const s = connect(port, "127.0.0.1", () => resolve(true)).once("error", () => resolve(false));
        s.once("connect", () => s.destroy());
      });
      if (open) return `redis://127.0.0.1:${port}/`;
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
    throw new Error("redis-server does not start");
  })());
}

// answers waits until the gateway does, and returns its URL.
async function answers(p, url) {
  running.push(p);
  let log = "";
  p.stderr.on("data", (b) => (log += b));
  for (let i = 0; i < 300 && p.exitCode === null; i++) {
    try {
      const r = await fetch(url + "/status");
      await r.text();
      return url;
    } catch {
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  }
  throw new Error("the gateway does not start: " + log);
}

// stopAll ends what has been started and removes its files.
export async function stopAll() {
  await Promise.all(
    running.map((p) => {
      if (p.exitCode !== null || p.signalCode !== null) return;
      const ended = new Promise((resolve) => p.once("exit", resolve));
      p.kill("SIGTERM");
      return ended;
    }),
  );
  for (const folder of folders) rmSync(folder, { recursive: true, force: true });
}
