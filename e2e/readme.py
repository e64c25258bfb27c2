#!/usr/bin/env python3
"""Runs every command of the original's README against this gateway, and lists each
with its result: "same", "differs" with how, or "not here" with why.

    e2e/readme.py <chat2response binary> <upstream binary>

What differs is in docs/migration.md too. It ends with status 1 if a command does
something else than is written here. Ports differ from the README's, so that it runs
beside other programs; nothing else does.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

BINARY, UPSTREAM = (os.path.abspath(p) for p in sys.argv[1:3])
rows, failed = [], 0


def port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def row(command, verdict, remark=""):
    rows.append((verdict, command, remark))
    print(f"{verdict:9} {command}" + (f"\n          {remark}" if remark else ""), flush=True)


class Server:
    """A command of the README that starts the server, in a folder of its own."""

    def __init__(self, command, **env):
        self.folder = tempfile.mkdtemp(prefix="readme-")
        self.port = port()
        os.makedirs(os.path.join(self.folder, "bin"))
        os.symlink(BINARY, os.path.join(self.folder, "bin", "chat2response"))
        with open(os.path.join(self.folder, "mcp.json"), "w") as f:
            json.dump({"mcpServers": {"filesystem": {"command": "npx", "args": ["-y", "@modelcontextprotocol/server-filesystem", "/tmp"]}}}, f)
        # npx finds the server here, if e2e/run has installed it, and else at npm.
        os.symlink(os.path.join(os.path.dirname(os.path.abspath(__file__)), "node_modules"), os.path.join(self.folder, "node_modules"))
        self.log = open(os.path.join(self.folder, "log"), "w+")
        env = {
            "PATH": os.path.join(self.folder, "bin") + ":" + os.environ["PATH"],
            "HOME": self.folder,
            "BIND_ADDR": f"127.0.0.1:{self.port}",
            "CHAT2RESPONSE_ADMIN_ADDR": "off",
        } | env
        self.process = subprocess.Popen(["bash", "-c", "exec env " + command], env=env, cwd=self.folder, stderr=self.log)
        for _ in range(300):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{self.port}/status", timeout=5).read()
                return
            except OSError:
                if self.process.poll() is not None:
                    break
                time.sleep(0.1)

    def said(self):
        self.log.flush()
        with open(self.log.name) as f:
            return f.read()

    def up(self):
        return self.process.poll() is None

    def stop(self):
        self.process.terminate()
        self.process.wait(timeout=60)
        shutil.rmtree(self.folder, ignore_errors=True)


def starts(command, expect, verdict="same", remark="", **env):
    """The command starts a server whose first lines have what is expected."""
    global failed
    s = Server(command, **env)
    for _ in range(300):  # it serves a moment before it says so
        if expect in s.said() or not s.up():
            break
        time.sleep(0.1)
    if s.up() and expect in s.said():
        row(command, verdict, remark)
    else:
        failed += 1
        row(command, "FAILED", s.said()[-500:])
    s.stop()


def curl(server, command, expect, verdict="same", remark=""):
    """The command, sent to the server, is answered with what is expected."""
    global failed
    real = command.replace("localhost:8088", f"127.0.0.1:{server.port}")
    done = subprocess.run(["bash", "-c", real + " --silent --max-time 60"], capture_output=True, text=True)
    wants = [expect] if isinstance(expect, str) else expect
    if done.returncode == 0 and all(w in done.stdout for w in wants):
        row(command, verdict, remark)
    else:
        failed += 1
        row(command, "FAILED", f"status {done.returncode}, no {wants} in {done.stdout[:800]}{server.said()[-500:]}")
    return done.stdout


def upstream(*flags):
    p = subprocess.Popen([UPSTREAM, "-scenario", "text", *flags], stdout=subprocess.PIPE, text=True)
    return p, p.stdout.readline().strip()


JSON = "-H 'Content-Type: application/json'"
MESSAGE = '{"role": "user", "content": "%s"}'


def body(content, more=""):
    return f"""-d '{{"model": "gpt-4o", "messages": [{MESSAGE % content}]{more}}}'"""


TOOLS = """, "tools": [{"type": "function", "function": {"name": "get_weather", "description": "Get weather info",
"parameters": {"type": "object", "properties": {"location": {"type": "string"}}, "required": ["location"]}}}]"""

openai_like, openai_url = upstream("-dialect", "openai")
demo, demo_url = upstream("-dialect", "openai", "-scenario", "demo")
echo, echo_url = upstream("-dialect", "generic", "-scenario", "echo", "-apis", "chat")
chat_only, chat_url = upstream("-dialect", "vllm", "-apis", "chat")
redis_port = port()
redis = None
if shutil.which("redis-server"):
    redis = subprocess.Popen(
        ["redis-server", "--port", str(redis_port), "--save", "", "--appendonly", "no", "--dir", tempfile.gettempdir()], stdout=subprocess.DEVNULL
    )
    for _ in range(100):
        try:
            socket.create_connection(("127.0.0.1", redis_port), 1).close()
            break
        except OSError:
            time.sleep(0.1)
redis_url = f"redis://127.0.0.1:{redis_port}/"

try:
    print("Starting it\n")
    starts(
        "chat2response",
        "memory (until the process ends)",
        "differs",
        "keys open nothing without OPENAI_API_KEY, and nothing is written; without OPENAI_BASE_URL the upstream is OpenAI",
    )
    starts("chat2response mcp.json", "tools of filesystem")
    if redis:
        starts(f"chat2response --keys-backend={redis_url}", "redis (--keys-backend)")
        starts(f"CHAT2RESPONSE_REDIS_URL={redis_url} chat2response", "redis (CHAT2RESPONSE_REDIS_URL)")
    else:
        row("chat2response --keys-backend=redis://127.0.0.1/", "not here", "there is no redis-server on this machine")
    starts("chat2response --keys-backend=sled:./data/keys.db", "is read as bbolt", "differs", "the file is bbolt's; keys of a sled folder must be made anew")
    starts("chat2response --keys-backend=memory", "memory (--keys-backend)")
    starts("OPENAI_API_KEY=sk-your-key chat2response", "managed")
    starts("OPENAI_API_KEY=sk-your-key chat2response mcp.json", "tools of filesystem")
    starts("OPENAI_BASE_URL=http://localhost:8000/v1 UPSTREAM_MODE=chat chat2response", "Chat Completions")
    starts("OPENAI_BASE_URL=https://api.openai.com/v1 chat2response mcp.json", "tools of filesystem")

    print("\nAsking it, in passthrough mode\n")
    s = Server("chat2response", OPENAI_BASE_URL=openai_url)
    curl(s, f"curl -X POST http://localhost:8088/convert {JSON} {body('Hello!')}", '"input":[', "differs", "the request has input, which OpenAI takes; the original wrote messages")
    curl(
        s,
        f"curl -X POST http://localhost:8088/convert {JSON} {body('What is the weather?', TOOLS)}",
        ['"tools":[{"type":"function","name":"get_weather"', '"strict":false'],
        "differs",
        "tools are flat, as OpenAI takes them",
    )
    stream = ', "stream": true'
    done = "event: response.completed"
    curl(s, f"curl -X POST http://localhost:8088/proxy {JSON} {body('Hello!', stream)}", done)
    curl(s, f"curl -N http://localhost:8088/proxy {JSON} {body('Stream this', stream)}", done)
    conversation = 'curl -X POST "http://localhost:8088/proxy?conversation_id=chat-123" ' + JSON + " "
    curl(s, conversation + body("Remember this conversation"), '"object":"response"')
    s.stop()
    s = Server("chat2response", OPENAI_BASE_URL=echo_url, UPSTREAM_MODE="chat")
    curl(s, conversation + body("Remember this conversation"), '"object":"response"')
    curl(
        s,
        conversation.replace("/proxy", "/convert") + body("What did I say?"),
        ["Remember this conversation", "What did I say?"],
        "same",
        "what is asked next has the conversation in it; the original kept none",
    )
    s.stop()

    print("\nIn front of a server that has Chat Completions only\n")
    s = Server("chat2response", OPENAI_BASE_URL=chat_url, UPSTREAM_MODE="chat")
    curl(s, f"curl -X POST http://localhost:8088/proxy {JSON} {body('Hello!')}", '"object":"response"', "differs", "answered; the original asked for /responses, which is not there")
    curl(s, f"curl -N http://localhost:8088/proxy {JSON} {body('Stream this', stream)}", done, "differs", "Responses events, as promised; the original relayed Chat chunks")
    s.stop()

    print("\nWith MCP servers\n")
    s = Server("chat2response mcp.json", OPENAI_BASE_URL=demo_url)
    for _ in range(600):  # npx takes its time
        with urllib.request.urlopen(f"http://127.0.0.1:{s.port}/status", timeout=5) as r:
            if json.load(r)["mcp_servers"][0]["tools"]:
                break
        time.sleep(0.1)
    curl(
        s,
        f"curl -X POST http://localhost:8088/proxy {JSON} {body('Search for recent news about AI and save the results to a file')}",
        ['"type":"mcp_call"', '"server_label":"filesystem"', '"status":"completed","error":null'],
        "same",
        "the model calls a tool of the server, the gateway runs it; the original did not",
    )
    s.stop()

    print("\nKeys\n")
    s = Server("chat2response", OPENAI_BASE_URL=openai_url, OPENAI_API_KEY="sk-your-key")
    generate = f"""curl -s -X POST http://localhost:8088/keys/generate {JSON} -d '{{"label":"svc","ttl_seconds":86400}}'"""
    key = json.loads(curl(s, generate, '"token":"sk_'))
    use = f"""curl -s -X POST "http://localhost:8088/proxy" {JSON} -H "Authorization: Bearer {key['token']}" {body('Hello')}"""
    curl(s, use, '"object":"response"')
    curl(s, "curl -s http://localhost:8088/keys", '"label":"svc"')
    with_id = lambda more: "-d '" + json.dumps({"id": key["id"]} | more) + "'"
    curl(s, f"curl -s -X POST http://localhost:8088/keys/set_expiration {JSON} {with_id({'ttl_seconds': 3600})}", '"updated":true')
    curl(s, f"curl -s -X POST http://localhost:8088/keys/revoke {JSON} {with_id({})}", '"revoked":true')
    curl(s, use, "api_key_revoked", "same", "the revoked key is refused")
    s.stop()

    # The image's /app/data is a link to its volume, /data.
    print("\nIn a container: the same program with the image's variables\n")
    image = {"OPENAI_BASE_URL": "https://api.openai.com/v1"}
    starts("OPENAI_API_KEY=sk-your-key chat2response", "bbolt ./data/keys.db", "same", "docker run; no Docker daemon is asked here", **image)
    if redis:
        starts(f"CHAT2RESPONSE_REDIS_URL={redis_url} chat2response --keys-backend={redis_url}", "redis (--keys-backend)", "same", "docker run with Redis", **image)
    starts("chat2response ./mcp.json", "tools of filesystem", "same", "docker run with a file of MCP servers", **image)

    print("\nBuilding and testing\n")
    row("cargo install chat2response", "not here", "Go: go install github.com/labiium/chat2response/cmd/chat2response@latest")
    row("cargo install --path . / cargo build --release", "not here", "Go: go build ./cmd/chat2response")
    row("use chat2response::to_responses_request", "not here", "Go: convert.ToResponses, in package convert")
    row("cargo test / cargo clippy", "not here", "Go: go test ./... and go vet ./...; Redis is tested if redis-server is there")
    row("pip install -r e2e/requirements.txt; pytest e2e/", "same", "run by e2e/run")
finally:
    for p in (openai_like, demo, echo, chat_only, redis):
        if p:
            p.terminate()
            p.wait()

count = {v: sum(r[0] == v for r in rows) for v in ("same", "differs", "not here", "FAILED")}
print("\n" + ", ".join(f"{n} {v}" for v, n in count.items()))
sys.exit(1 if failed else 0)
