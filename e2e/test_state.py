"""What the gateway remembers for an upstream that remembers nothing."""

import time

import openai
import pytest


@pytest.fixture(scope="module")
def client(start_upstream, start_gateway):
    url = start_upstream("-dialect", "vllm", "-apis", "chat")
    gateway = start_gateway(OPENAI_BASE_URL=url, UPSTREAM_MODE="chat")
    with openai.OpenAI(base_url=gateway.base, api_key="sk-of-one-client", max_retries=0) as c:
        yield c


def test_previous_response(client):
    first = client.responses.create(model="demo", input="Hello!")
    second = client.responses.create(model="demo", input="And again!", previous_response_id=first.id)
    assert second.previous_response_id == first.id
    assert client.responses.retrieve(second.id).output_text == second.output_text
    assert [i.content[0].text for i in client.responses.input_items.list(first.id)] == ["Hello!"]
    client.responses.delete(first.id)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(first.id)


def test_tool_call_is_continued_by_id(client):
    tools = [{"type": "function", "name": "get_weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}]
    first = client.responses.create(model="demo", input="What is the weather in Paris?", tools=tools)
    call = next(i for i in first.output if i.type == "function_call")
    output = {"type": "function_call_output", "call_id": call.call_id, "output": "It is raining cats."}
    second = client.responses.create(model="demo", input=[output], previous_response_id=first.id, tools=tools)
    assert "raining cats" in second.output_text


def test_conversations(client):
    conversation = client.conversations.create(items=[{"type": "message", "role": "user", "content": "My name is Ada."}])
    client.responses.create(model="demo", input="Hello!", conversation=conversation.id)
    roles = [i.role for i in client.conversations.items.list(conversation.id, order="asc") if i.type == "message"]
    assert roles == ["user", "user", "assistant"]


def test_background(client):
    r = client.responses.create(model="demo", input="Take your time.", background=True)
    assert r.status in ("queued", "in_progress", "completed")
    for _ in range(300):
        if r.status not in ("queued", "in_progress"):
            break
        time.sleep(0.1)
        r = client.responses.retrieve(r.id)
    assert r.status == "completed" and "Take your time" in r.output_text


def test_another_clients_response_does_not_exist(client):
    mine = client.responses.create(model="demo", input="Hello!")
    with pytest.raises(openai.NotFoundError):
        client.with_options(api_key="sk-of-another-client").responses.retrieve(mine.id)
