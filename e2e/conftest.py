"""Starts the real binary in front of fake upstreams, for the official clients.

CHAT2RESPONSE_BIN may name a binary that is built already.
"""

import os
import pathlib
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request

import pytest

HERE = pathlib.Path(__file__).resolve().parent
BIN = HERE / ".bin"


def build(name, package):
    """Builds one of this repository's programs and returns its path."""
    path = BIN / name
    subprocess.run(["go", "build", "-o", path, package], cwd=HERE.parent, check=True)
    return path


@pytest.fixture(scope="session")
def binary():
    return os.environ.get("CHAT2RESPONSE_BIN") or build("chat2response", "./cmd/chat2response")


@pytest.fixture(scope="session")
def upstream_binary():
    return os.environ.get("UPSTREAM_BIN") or build("upstream", "./e2e/upstream")


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Processes:
    """Programs that end with the test session."""

    def __init__(self):
        self.running = []

    def start(self, command, env=None, cwd=None, **more):
        clean = {k: os.environ[k] for k in ("PATH", "HOME") if k in os.environ}
        p = subprocess.Popen(command, env=clean | (env or {}), cwd=cwd, text=True, **more)
        self.running.append(p)
        return p

    def stop(self):
        for p in self.running:
            p.terminate()
        for p in self.running:
            p.wait(timeout=60)


@pytest.fixture(scope="session")
def processes():
    p = Processes()
    yield p
    p.stop()


@pytest.fixture(scope="session")
def start_upstream(processes, upstream_binary):
    """Starts a fake upstream and returns its base URL."""

    def start(*flags):
        p = processes.start([upstream_binary, *flags], stdout=subprocess.PIPE)
        return p.stdout.readline().strip()

    return start


class Gateway:
    def __init__(self, url):
        self.url = url
        self.base = url + "/v1"


def wait_for(url, process, log):
    """Returns when the gateway answers."""
    for _ in range(300):
        if process.poll() is not None:
            break
        try:
            urllib.request.urlopen(url + "/status", timeout=5).read()
            return
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.1)
    log.seek(0)
    raise RuntimeError("the gateway does not start: " + log.read())


@pytest.fixture(scope="session")
def start_gateway(processes, binary, tmp_path_factory):
    """Starts the gateway with the variables given, and returns it when it answers."""

    def start(args=(), **env):
        folder = tmp_path_factory.mktemp("gateway")
        port = free_port()
        env |= {
            "BIND_ADDR": f"127.0.0.1:{port}",
            "CHAT2RESPONSE_ADMIN_ADDR": "off",
            "XDG_DATA_HOME": str(folder),
            "XDG_CONFIG_HOME": str(folder),
        }
        log = open(folder / "log", "w+")
        p = processes.start([binary, "--keys-backend=memory", *args], env=env, cwd=folder, stderr=log)
        url = f"http://127.0.0.1:{port}"
        wait_for(url, p, log)
        return Gateway(url)

    return start


@pytest.fixture(scope="session")
def redis_url(processes):
    """A Redis of the tests' own; None without redis-server."""
    if shutil.which("redis-server") is None:
        return None
    port = free_port()
    processes.start(["redis-server", "--port", str(port), "--save", "", "--appendonly", "no"], stdout=subprocess.DEVNULL)
    for _ in range(100):
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return f"redis://127.0.0.1:{port}/"
        except OSError:
            time.sleep(0.1)
    raise RuntimeError("redis-server does not start")


REMEMBERING = [f"{mode}, {store}" for mode in ("chat", "responses") for store in ("memory", "bbolt", "redis")]


@pytest.fixture(scope="session", params=REMEMBERING)
def remembering(request, start_upstream, processes, binary, tmp_path_factory, redis_url):
    """A gateway that remembers, in each store, for an upstream of either API."""
    mode, store = request.param.split(", ")
    folder = tmp_path_factory.mktemp("remembering")
    where = {"memory": "memory", "bbolt": f"bbolt {folder}/state.db", "redis": f"redis {redis_url}"}[store]
    if where == "redis None":
        pytest.skip("no redis-server here")
    dialect = {"chat": "vllm", "responses": "openai"}[mode]
    upstream = start_upstream("-dialect", dialect, "-apis", mode, "-delay", "10ms")
    port = free_port()
    (folder / "Caddyfile").write_text(f"""{{
	admin off
	storage file_system {folder}
}}
http://:{port} {{
	bind 127.0.0.1
	chat2response {upstream} {{
		mode {mode}
		dialect {dialect}
		state local {where}
	}}
}}
""")
    log = open(folder / "log", "w+")
    p = processes.start([binary, "run", "--config", "Caddyfile"], env={"HOME": str(folder)}, cwd=folder, stderr=log)
    url = f"http://127.0.0.1:{port}"
    wait_for(url, p, log)
    g = Gateway(url)
    g.mode = mode
    return g


@pytest.fixture(scope="session", params=["chat upstream", "responses upstream"])
def gateway(request, start_upstream, start_gateway):
    """The gateway in front of an upstream that has one API only."""
    mode = request.param.split()[0]
    dialect = {"chat": "generic", "responses": "openai"}[mode]
    url = start_upstream("-dialect", dialect, "-apis", mode)
    g = start_gateway(OPENAI_BASE_URL=url, UPSTREAM_MODE=mode)
    g.mode = mode
    return g


@pytest.fixture(scope="session", params=["chat upstream", "responses upstream"])
def scripted(request, start_upstream, start_gateway):
    """The same, whose model does what its name says: fake-tool, fake-error429, ..."""
    mode = request.param.split()[0]
    dialect = {"chat": "generic", "responses": "openai"}[mode]
    url = start_upstream("-dialect", dialect, "-apis", mode, "-scenario", "text")
    return start_gateway(OPENAI_BASE_URL=url, UPSTREAM_MODE=mode)
