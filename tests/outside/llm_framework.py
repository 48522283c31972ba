"""An agent on a framework (Pydantic AI), as its users write it, against providers that speak each dialect.

The agent has a tool, which the model calls before it answers: once asked, once streamed. The framework speaks by each SDK
that it brings; the providers are those of `llm_gateway`. Run it through `tests/outside/run llm-framework`.
"""

import asyncio
import sys

from llm_gateway import PROVIDERS, SCRIPT, accounts, each, running
from pydantic_ai import Agent
from pydantic_ai.models.anthropic import AnthropicModel
from pydantic_ai.models.google import GoogleModel
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.anthropic import AnthropicProvider
from pydantic_ai.providers.google import GoogleProvider
from pydantic_ai.providers.openai import OpenAIProvider

CITY = 'Bern "x"\n'


def models(base):
    openai = OpenAIProvider(base_url=f"{base}/v1", api_key="client")
    return {
        "chat": lambda name: OpenAIChatModel(name, provider=openai),
        "responses": lambda name: OpenAIResponsesModel(name, provider=openai),
        "messages": lambda name: AnthropicModel(name, provider=AnthropicProvider(base_url=base, api_key="client")),
        "gemini": lambda name: GoogleModel(name, provider=GoogleProvider(base_url=base, api_key="client")),
    }


async def converse(model, streamed):
    """What the agent answers, and the tokens that the framework counted."""
    asked = []
    agent = Agent(model, instructions="Be brief.")

    @agent.tool_plain
    def weather(city: str) -> str:
        """The weather of a city."""
        asked.append(city)
        return "fair"

    if streamed:
        async with agent.run_stream("what is the weather?") as run:
            text = "".join([it async for it in run.stream_text(delta=True)])
            usage = run.usage
    else:
        run = await agent.run("what is the weather?")
        text, usage = run.output, run.usage
    assert asked == [CITY], asked
    assert text, "it says something in the end"
    assert usage.requests == 2, usage
    return usage


def told(folder, before):
    """Tokens of the log's lines, in and out, and how many lines they are."""
    calls = accounts(folder)[before:]
    return tuple(sum(it.get(f"gen_ai.usage.{way}_tokens", 0) for it in calls) for way in ("input", "output")), len(calls)


async def settled(folder, before, used):
    for _ in range(200):
        if told(folder, before) == (used, 2):
            return
        await asyncio.sleep(0.05)
    raise AssertionError(f"{used} used, and accounted: {told(folder, before)}")


async def main():
    failed = passed = 0
    with running(sys.argv[1], each, SCRIPT) as (folder, base):
        for name, model in models(base).items():
            for provider in PROVIDERS:
                for streamed in (False, True):
                    before = len(accounts(folder))
                    try:
                        usage = await converse(model(f"on-{provider}"), streamed)
                        await settled(folder, before, (usage.input_tokens, usage.output_tokens))
                        passed += 1
                    except Exception as error:  # noqa: BLE001 (each has its say)
                        failed += 1
                        print(f"FAILED {name} on {provider}, {streamed=}: {type(error).__name__} {error}"[:400])
    print(f"{passed} of {passed + failed} conversations with a tool pass")
    sys.exit(bool(failed))


asyncio.run(main())
