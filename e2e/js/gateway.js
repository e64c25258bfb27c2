// Starts the real binary in front of a fake upstream. CHAT2RESPONSE_BIN and
// UPSTREAM_BIN may name binaries that are built already.
import { spawn, execFileSync } from "node:child_process";
import { createInterface } from "node:readline";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:net";
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
  running.push(p);
  let log = "";
  p.stderr.on("data", (b) => (log += b));
  const url = `http://127.0.0.1:${port}`;
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
