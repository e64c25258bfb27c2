"""Tools of an mcp.json, for clients that know nothing of them."""

import json
import pathlib
import sys
import time
import urllib.request

import openai
import pytest

QUESTION = "What is the forecast?"


@pytest.fixture(scope="module", params=["chat", "responses"])
def client(request, start_upstream, start_gateway, tmp_path_factory):
    config = tmp_path_factory.mktemp("mcp") / "mcp.json"
    server = pathlib.Path(__file__).with_name("tools_server.py")
    config.write_text(json.dumps({"mcpServers": {"weather": {"command": sys.executable, "args": [str(server)]}}}))
    url = start_upstream("-dialect", {"chat": "generic", "responses": "openai"}[request.param], "-apis", request.param)
    gateway = start_gateway([str(config)], OPENAI_BASE_URL=url, UPSTREAM_MODE=request.param)
    for _ in range(300):
        status = json.load(urllib.request.urlopen(gateway.url + "/status"))
        if status["mcp_servers"][0]["tools"]:
            break
        time.sleep(0.1)
    assert status["mcp_servers"][0]["tools"] == ["weather_forecast"]
    with openai.OpenAI(base_url=gateway.base, api_key="sk-x", max_retries=0) as c:
        yield c


def test_chat(client):
    r = client.chat.completions.create(model="demo", messages=[{"role": "user", "content": QUESTION}])
    assert "raining cats" in r.choices[0].message.content and r.choices[0].finish_reason == "stop"


def test_chat_stream(client):
    with client.chat.completions.stream(model="demo", messages=[{"role": "user", "content": QUESTION}]) as s:
        assert "raining cats" in s.get_final_completion().choices[0].message.content


def test_responses(client):
    r = client.responses.create(model="demo", input=QUESTION, store=False)
    call = next(i for i in r.output if i.type == "mcp_call")
    assert (call.server_label, call.name) == ("weather", "forecast") and "raining cats" in call.output
    assert "raining cats" in r.output_text


def test_responses_stream(client):
    with client.responses.stream(model="demo", input=QUESTION, store=False) as s:
        types = [e.type for e in s]
        assert "raining cats" in s.get_final_response().output_text
    assert "response.mcp_call.completed" in types and types.count("response.completed") == 1


def test_beside_tools_of_the_client(client):
    tools = [{"type": "function", "name": "get_population", "description": "How many people", "parameters": {"type": "object", "properties": {}}}]
    r = client.responses.create(model="demo", input="What is the population?", tools=tools, store=False)
    assert [i.name for i in r.output if i.type == "function_call"] == ["get_population"]
