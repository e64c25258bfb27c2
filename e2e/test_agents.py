"""The OpenAI Agents SDK against the gateway."""

import asyncio

import openai
import pytest
from agents import Agent, OpenAIChatCompletionsModel, OpenAIResponsesModel, Runner, function_tool, set_tracing_disabled
from pydantic import BaseModel

set_tracing_disabled(True)
calls = []


@function_tool
def get_weather(city: str) -> str:
    """The weather in a city."""
    calls.append(city)
    return "It is raining cats."


class Weather(BaseModel):
    city: str
    wet: bool


@pytest.fixture(params=[OpenAIResponsesModel, OpenAIChatCompletionsModel])
def run(request, gateway):
    """Runs a coroutine function with a model of the SDK."""

    def run(what):
        async def inside():
            async with openai.AsyncOpenAI(base_url=gateway.base, api_key="sk-x", max_retries=0) as client:
                return await what(request.param(model="demo", openai_client=client))

        return asyncio.run(inside())

    return run


def test_tool_loop(run):
    calls.clear()
    agent = lambda model: Agent(name="weather", instructions="Use tools.", model=model, tools=[get_weather])
    result = run(lambda model: Runner.run(agent(model), "What is the weather in Paris?"))
    assert len(calls) == 1 and "raining cats" in result.final_output


def test_stream(run):
    async def stream(model):
        calls.clear()
        result = Runner.run_streamed(Agent(name="weather", model=model, tools=[get_weather]), "What is the weather in Paris?")
        kinds = [e.type async for e in result.stream_events()]
        return kinds, result.final_output

    kinds, output = run(stream)
    assert len(calls) == 1 and "raining cats" in output
    assert {"raw_response_event", "run_item_stream_event"} <= set(kinds)


def test_structured(run):
    result = run(lambda model: Runner.run(Agent(name="weather", model=model, output_type=Weather), "Is it wet in Paris?"))
    assert isinstance(result.final_output, Weather)
