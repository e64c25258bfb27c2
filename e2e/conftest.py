"""Starts the real binary in front of fake upstreams, for the official clients.

CHAT2RESPONSE_BIN may name a binary that is built already.
"""

import os
import pathlib
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
        for _ in range(300):
            if p.poll() is not None:
                break
            try:
                urllib.request.urlopen(url + "/status", timeout=5).read()
                return Gateway(url)
            except (urllib.error.URLError, ConnectionError):
                time.sleep(0.1)
        log.seek(0)
        raise RuntimeError("the gateway does not start: " + log.read())

    return start


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
