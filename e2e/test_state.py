"""What the gateway remembers, in each of its stores, for an upstream of either API."""

import time

import openai
import pytest


@pytest.fixture(scope="module")
def client(remembering):
    with openai.OpenAI(base_url=remembering.base, api_key="sk-of-one-client", max_retries=0) as c:
        yield c


WEATHER = [{"type": "function", "name": "get_weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}]


def test_ten_turns(client):
    last, ids = None, []
    for turn in range(10):
        said = f"This is turn {turn}."
        if turn % 2:
            with client.responses.stream(model="demo", input=said, previous_response_id=last) as stream:
                stream.until_done()
                r = stream.get_final_response()
        else:
            r = client.responses.create(model="demo", input=said, **({"previous_response_id": last} if last else {}))
        assert said in r.output_text and r.previous_response_id == last and r.store
        last = r.id
        ids.append(r.id)
    assert len(set(ids)) == 10
    assert client.responses.retrieve(ids[4]).output_text.count("turn 4") == 1
    assert [i.content[0].text for i in client.responses.input_items.list(last)] == ["This is turn 9."]


def test_delete(client):
    first = client.responses.create(model="demo", input="Hello!")
    client.responses.delete(first.id)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(first.id)
    with pytest.raises(openai.BadRequestError) as e:
        client.responses.create(model="demo", input="And now?", previous_response_id=first.id)
    assert e.value.code == "previous_response_not_found"


def test_store_false(client):
    first = client.responses.create(model="demo", input="Hello!", store=False)
    assert first.store is False
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(first.id)


def test_tool_call_is_continued_by_id(client):
    first = client.responses.create(model="demo", input="What is the weather in Paris?", tools=WEATHER)
    call = next(i for i in first.output if i.type == "function_call")
    output = {"type": "function_call_output", "call_id": call.call_id, "output": "It is raining cats."}
    second = client.responses.create(model="demo", input=[output], previous_response_id=first.id, tools=WEATHER)
    assert "raining cats" in second.output_text


def test_items_by_reference(client):
    """The habit of the AI SDK: what was answered goes back as references."""
    first = client.responses.create(model="demo", input="What is the weather in Paris?", tools=WEATHER)
    call = next(i for i in first.output if i.type == "function_call")
    history = [{"role": "user", "content": "What is the weather in Paris?"}]
    history += [{"type": "item_reference", "id": i.id} for i in first.output]
    history.append({"type": "function_call_output", "call_id": call.call_id, "output": "It is raining dogs."})
    second = client.responses.create(model="demo", input=history, tools=WEATHER)
    assert "raining dogs" in second.output_text
    with pytest.raises(openai.NotFoundError):
        client.responses.create(model="demo", input=[{"type": "item_reference", "id": "msg_" + "0" * 32}])


def test_conversations(client):
    conversation = client.conversations.create(items=[{"type": "message", "role": "user", "content": "My name is Ada."}], metadata={"a": "b"})
    client.responses.create(model="demo", input="Hello!", conversation=conversation.id)
    client.responses.create(model="demo", input="Hello again!", conversation=conversation.id)
    items = list(client.conversations.items.list(conversation.id, order="asc"))
    assert [i.role for i in items if i.type == "message"] == ["user", "user", "assistant", "user", "assistant"]
    assert client.conversations.retrieve(conversation.id).metadata == {"a": "b"}
    assert client.conversations.update(conversation.id, metadata={"c": "d"}).metadata == {"c": "d"}
    client.conversations.items.delete(items[0].id, conversation_id=conversation.id)
    client.conversations.delete(conversation.id)
    with pytest.raises(openai.NotFoundError):
        client.conversations.retrieve(conversation.id)


def done(client, id):
    for _ in range(300):
        r = client.responses.retrieve(id)
        if r.status not in ("queued", "in_progress"):
            return r
        time.sleep(0.1)
    raise AssertionError("it does not end")


def test_background(client):
    r = client.responses.create(model="demo", input="Take your time.", background=True)
    assert r.status in ("queued", "in_progress", "completed") and r.background
    r = done(client, r.id)
    assert r.status == "completed" and "Take your time" in r.output_text


def test_background_is_resumed(client):
    seen, id = [], None
    stream = client.responses.create(model="demo", input="Tell me all of it.", background=True, stream=True)
    for event in stream:
        seen.append((event.sequence_number, event.type))
        if event.type == "response.created":
            id = event.response.id
        if event.type == "response.output_text.delta":
            break
    stream.close()  # the connection is lost
    for event in client.responses.retrieve(id, stream=True, starting_after=seen[-1][0]):
        seen.append((event.sequence_number, event.type))
    assert [n for n, _ in seen] == list(range(len(seen)))
    assert seen[-1][1] == "response.completed"
    again = [(e.sequence_number, e.type) for e in client.responses.retrieve(id, stream=True)]
    assert again == seen


def test_background_is_cancelled(client):
    with client.responses.create(model="demo", input="word " * 2000, background=True, stream=True) as stream:
        id = next(iter(stream)).response.id
    assert client.responses.cancel(id).status == "cancelled"
    assert client.responses.retrieve(id).status == "cancelled"


def test_input_tokens(client, remembering):
    if remembering.mode == "responses":
        pytest.skip("the upstream counts, and this one cannot")
    counted = client.responses.input_tokens.count(model="demo", input="How many tokens are these?")
    assert counted.input_tokens > 3


def test_another_clients_response_does_not_exist(client):
    mine = client.responses.create(model="demo", input="Hello!")
    with pytest.raises(openai.NotFoundError):
        client.with_options(api_key="sk-of-another-client").responses.retrieve(mine.id)


def test_compact(client, remembering):
    if remembering.mode == "responses":
        pytest.skip("the upstream compacts, and this one cannot")
    first = client.responses.create(model="demo", input="The word is xylophone.")
    compacted = client.responses.compact(model="demo", previous_response_id=first.id)
    assert [i.type for i in compacted.output] == ["message", "compaction"] and compacted.output[1].encrypted_content
    rest = [i.model_dump(exclude_none=True) for i in compacted.output]
    again = client.responses.create(model="demo", input=[*rest, {"role": "user", "content": "And then?"}])
    assert again.status == "completed" and "And then?" in again.output_text
    chained = client.responses.create(model="demo", input=[{"type": "compaction_trigger"}], previous_response_id=first.id)
    assert [i.type for i in chained.output] == ["compaction"]
    assert "Go on." in client.responses.create(model="demo", input="Go on.", previous_response_id=chained.id).output_text
