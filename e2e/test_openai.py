"""The official Python SDK against the gateway: both APIs, on upstreams of either."""

import json

import openai
import pytest
from pydantic import BaseModel

PIXEL = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"], "additionalProperties": False}
QUESTION = "What is the weather in Paris?"


@pytest.fixture
def client(gateway):
    with openai.OpenAI(base_url=gateway.base, api_key="sk-of-the-client", max_retries=0) as c:
        yield c


@pytest.fixture
def script(scripted):
    with openai.OpenAI(base_url=scripted.base, api_key="sk-of-the-client", max_retries=0) as c:
        yield c


def test_models(client):
    assert "demo" in [m.id for m in client.models.list()]


# Chat Completions


def test_chat(client):
    r = client.chat.completions.create(
        model="demo",
        messages=[{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello!"}],
        max_completion_tokens=200,
        temperature=0.5,
    )
    assert "Hello!" in r.choices[0].message.content
    assert r.choices[0].finish_reason == "stop"
    assert r.object == "chat.completion" and r.model == "demo"
    assert r.usage.prompt_tokens > 0 and r.usage.completion_tokens > 0


def test_chat_stream(client):
    text, finishes, usage = "", [], None
    for chunk in client.chat.completions.create(
        model="demo",
        messages=[{"role": "user", "content": "Hello!"}],
        stream=True,
        stream_options={"include_usage": True},
    ):
        if chunk.usage:
            usage = chunk.usage
        for choice in chunk.choices:
            text += choice.delta.content or ""
            if choice.finish_reason:
                finishes.append(choice.finish_reason)
    assert "Hello!" in text and finishes == ["stop"] and usage.total_tokens > 0


def test_chat_tools(client):
    tools = [{"type": "function", "function": {"name": "get_weather", "description": "The weather in a city", "parameters": PARAMETERS}}]
    messages = [{"role": "user", "content": QUESTION}]
    first = client.chat.completions.create(model="demo", messages=messages, tools=tools).choices[0]
    assert first.finish_reason == "tool_calls"
    call = first.message.tool_calls[0]
    assert call.function.name == "get_weather" and "city" in json.loads(call.function.arguments)
    messages += [first.message, {"role": "tool", "tool_call_id": call.id, "content": "It is raining cats."}]
    second = client.chat.completions.create(model="demo", messages=messages, tools=tools).choices[0]
    assert "raining cats" in second.message.content


def test_chat_stream_tools(client):
    tools = [{"type": "function", "function": {"name": "get_weather", "parameters": PARAMETERS}}]
    with client.chat.completions.stream(model="demo", messages=[{"role": "user", "content": QUESTION}], tools=tools) as s:
        done = [e for e in s if e.type == "tool_calls.function.arguments.done"]
    assert [e.name for e in done] == ["get_weather"] and "city" in json.loads(done[0].arguments)


class Answer(BaseModel):
    city: str
    degrees: int


def test_chat_structured(client):
    r = client.chat.completions.parse(model="demo", messages=[{"role": "user", "content": QUESTION}], response_format=Answer)
    assert isinstance(r.choices[0].message.parsed, Answer)


def test_chat_vision(client):
    content = [{"type": "text", "text": "What is this?"}, {"type": "image_url", "image_url": {"url": PIXEL, "detail": "low"}}]
    r = client.chat.completions.create(model="demo", messages=[{"role": "user", "content": content}])
    assert "1 image(s)" in r.choices[0].message.content


# Responses


def test_responses(client):
    r = client.responses.create(model="demo", instructions="Be brief.", input="Hello!", max_output_tokens=200, store=False)
    assert "Hello!" in r.output_text
    assert r.status == "completed" and r.usage.total_tokens > 0


def test_responses_stream(client):
    types, text, last = [], "", None
    for event in client.responses.create(model="demo", input="Hello!", stream=True, store=False):
        types.append(event.type)
        if event.type == "response.output_text.delta":
            text += event.delta
        last = event
    assert types[0] == "response.created" and types[-1] == "response.completed"
    assert last.response.output_text == text and "Hello!" in text


def test_responses_stream_helper(client):
    with client.responses.stream(model="demo", input="Hello!", store=False) as s:
        for _ in s:
            pass
        assert "Hello!" in s.get_final_response().output_text


def test_responses_tools(client):
    tools = [{"type": "function", "name": "get_weather", "description": "The weather in a city", "parameters": PARAMETERS, "strict": True}]
    history = [{"role": "user", "content": QUESTION}]
    first = client.responses.create(model="demo", input=history, tools=tools, store=False, include=["reasoning.encrypted_content"])
    call = next(i for i in first.output if i.type == "function_call")
    assert call.name == "get_weather" and "city" in json.loads(call.arguments)
    history += first.output
    history.append({"type": "function_call_output", "call_id": call.call_id, "output": "It is raining cats."})
    assert "raining cats" in client.responses.create(model="demo", input=history, tools=tools, store=False).output_text


def test_responses_structured(client):
    r = client.responses.parse(model="demo", input=QUESTION, text_format=Answer, store=False)
    assert isinstance(r.output_parsed, Answer)


def test_responses_vision(client):
    content = [{"type": "input_text", "text": "What is this?"}, {"type": "input_image", "image_url": PIXEL, "detail": "low"}]
    r = client.responses.create(model="demo", input=[{"role": "user", "content": content}], store=False)
    assert "1 image(s)" in r.output_text


# Errors

ERRORS = [
    ("fake-error400", openai.BadRequestError),
    ("fake-error401", openai.AuthenticationError),
    ("fake-error404", openai.NotFoundError),
    ("fake-error429", openai.RateLimitError),
    ("fake-error500", openai.InternalServerError),
    ("fake-error503", openai.InternalServerError),
    ("fake-no-such-model", openai.NotFoundError),
]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("model,kind", ERRORS)
def test_errors(script, model, kind, stream):
    with pytest.raises(kind) as chat:
        script.chat.completions.create(model=model, messages=[{"role": "user", "content": "x"}], stream=stream)
    with pytest.raises(kind) as responses:
        script.responses.create(model=model, input="x", stream=stream, store=False)
    assert chat.value.body["message"] and responses.value.body["message"]


def test_bad_request(client):
    with pytest.raises(openai.BadRequestError) as e:
        client.responses.create(model="demo", input="x", extra_body={"temperature": "warm"}, store=False)
    assert e.value.param == "temperature"


def test_broken_streams_raise(script):
    """A stream that breaks off is an error, never a complete answer."""
    for model in ("fake-cut", "fake-midstream"):
        with pytest.raises(openai.OpenAIError):
            chunks = list(script.chat.completions.create(model=model, messages=[{"role": "user", "content": "x"}], stream=True))
            assert not any(c.finish_reason for chunk in chunks for c in chunk.choices)
            raise openai.OpenAIError("the stream ended without finish_reason")


def test_length_and_refusal(script):
    r = script.chat.completions.create(model="fake-length", messages=[{"role": "user", "content": "x"}])
    assert r.choices[0].finish_reason == "length"
    r = script.responses.create(model="fake-length", input="x", store=False)
    assert r.status == "incomplete" and r.incomplete_details.reason == "max_output_tokens"
    r = script.responses.create(model="fake-refusal", input="x", store=False)
    assert r.output[-1].content[0].type == "refusal"


def test_async(gateway):
    import asyncio

    async def ask():
        async with openai.AsyncOpenAI(base_url=gateway.base, api_key="sk-x", max_retries=0) as c:
            answers = await asyncio.gather(*(c.responses.create(model="demo", input=f"Number {i}", store=False) for i in range(20)))
            return [a.output_text for a in answers]

    assert all(f"Number {i}" in text for i, text in enumerate(asyncio.run(ask())))
