"""The SDKs of OpenAI, Anthropic and Google, as they are, through a real gateway to its mock provider.

Each case is one call as a user writes it: streamed or not, tools, images, thinking, schemas, errors. Then the gateway's
account of every call is compared with what the provider said. Run it through `tests/outside/run llm`.
"""

import sys
import time

import anthropic
import openai
from google import genai
from google.genai import errors, types
from llm_gateway import PATIENCE, accounts, running

CASES = []

GATEWAY = """
config:
  adminAddr: unix:FOLDER/admin.sock
  statsAddr: 127.0.0.1:0
  readinessAddr: 127.0.0.1:0
  logging: {{ format: json }}
llm:
  port: {port}
  providers:
  - {{ name: mock, provider: openai, params: {{ baseUrl: "{mock}/v1", apiKey: held }} }}
  models:
  - {{ name: gpt-mini, provider: {{ reference: mock }} }}
  - {{ name: gpt-*, provider: {{ reference: mock }} }}
  - {{ name: claude-*, provider: anthropic, params: {{ baseUrl: "{mock}", apiKey: held }} }}
  - {{ name: gemini-*, provider: gemini, params: {{ baseUrl: "{mock}", apiKey: held }} }}
"""

SCRIPT = {"key": "held", "rules": [{"model": "gpt-fail", "status": 429}]}
HELLO = [{"role": "user", "content": "hello there"}]
SAID = "You said: hello there"
FUNCTION = {"name": "look", "parameters": {"type": "object", "properties": {}}}


def case(run):
    CASES.append(run)
    return run


class Clients:
    def __init__(self, base):
        self.openai = openai.OpenAI(base_url=f"{base}/v1", api_key="client", max_retries=0)
        self.anthropic = anthropic.Anthropic(base_url=base, api_key="client", max_retries=0)
        self.google = genai.Client(api_key="client", http_options=types.HttpOptions(base_url=base))


@case
def openai_chat(it):
    answer = it.openai.chat.completions.create(model="gpt-5", messages=HELLO)
    assert answer.choices[0].message.content == SAID
    return answer.usage.prompt_tokens, answer.usage.completion_tokens


@case
def openai_chat_streamed_without_asking_for_usage(it):
    stream = it.openai.chat.completions.create(model="gpt-5", messages=HELLO, stream=True)
    # As much code does it: the first choice of every event.
    assert "".join(chunk.choices[0].delta.content or "" for chunk in stream) == SAID
    return None, 4


@case
def openai_chat_streamed_with_usage(it):
    options = {"include_usage": True}
    stream = it.openai.chat.completions.create(model="gpt-5", messages=HELLO, stream=True, stream_options=options)
    last = list(stream)[-1]
    assert last.choices == []
    return last.usage.prompt_tokens, last.usage.completion_tokens


@case
def openai_chat_tools(it):
    tools = [{"type": "function", "function": FUNCTION}]
    answer = it.openai.chat.completions.create(model="gpt-5", messages=HELLO, tools=tools)
    assert answer.choices[0].message.tool_calls[0].function.name == "look"
    assert answer.choices[0].finish_reason == "tool_calls"
    stream = it.openai.chat.completions.create(model="gpt-5", messages=HELLO, tools=tools, stream=True)
    assert any(chunk.choices[0].delta.tool_calls for chunk in stream)


@case
def openai_chat_image_and_schema(it):
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    schema = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}}
    content = [{"type": "text", "text": "see"}, image]
    messages = [{"role": "user", "content": content}]
    it.openai.chat.completions.create(model="gpt-5", messages=messages, response_format=schema)


@case
def openai_responses(it):
    answer = it.openai.responses.create(model="gpt-5", input="hello there")
    assert answer.output_text == SAID
    return answer.usage.input_tokens, answer.usage.output_tokens


@case
def openai_responses_streamed(it):
    with it.openai.responses.stream(model="gpt-5", input="hello there") as stream:
        kinds = [event.type for event in stream]
        answer = stream.get_final_response()
    assert answer.output_text == SAID and kinds[0] == "response.created" and kinds[-1] == "response.completed"
    return answer.usage.input_tokens, answer.usage.output_tokens


@case
def openai_responses_tools(it):
    tools = [{"type": "function", "strict": False, **FUNCTION}]
    answer = it.openai.responses.create(model="gpt-5", input="hello", tools=tools)
    assert answer.output[0].type == "function_call"


@case
def openai_embeddings(it):
    answer = it.openai.embeddings.create(model="gpt-embed", input=["a", "b"], encoding_format="float")
    assert len(answer.data) == 2
    return answer.usage.prompt_tokens, None


@case
def openai_images(it):
    answer = it.openai.images.generate(model="gpt-image", prompt="a pixel")
    assert answer.data[0].b64_json
    return answer.usage.input_tokens, answer.usage.output_tokens


@case
def openai_models(it):
    assert [model.id for model in it.openai.models.list()] == ["gpt-mini"]


@case
def openai_errors(it):
    try:
        it.openai.chat.completions.create(model="nobody", messages=HELLO)
        raise AssertionError("nobody answers")
    except openai.NotFoundError as error:
        assert error.code == "model_not_found"
    try:
        it.openai.chat.completions.create(model="gpt-fail", messages=HELLO)
        raise AssertionError("it is to fail")
    except openai.RateLimitError as error:
        assert error.code == "scripted"


@case
def anthropic_messages(it):
    answer = it.anthropic.messages.create(model="claude-x", max_tokens=9, messages=HELLO)
    assert answer.content[0].text == SAID and answer.stop_reason == "end_turn"
    return answer.usage.input_tokens, answer.usage.output_tokens


@case
def anthropic_messages_streamed(it):
    with it.anthropic.messages.stream(model="claude-x", max_tokens=9, messages=HELLO) as stream:
        text = "".join(stream.text_stream)
        answer = stream.get_final_message()
    assert text == SAID
    return answer.usage.input_tokens, answer.usage.output_tokens


@case
def anthropic_tools(it):
    terms = {"model": "claude-x", "max_tokens": 9, "messages": HELLO}
    terms["tools"] = [{"name": "look", "input_schema": {"type": "object"}}]
    assert it.anthropic.messages.create(**terms).content[0].type == "tool_use"
    with it.anthropic.messages.stream(**terms) as stream:
        assert stream.get_final_message().content[0].type == "tool_use"


@case
def anthropic_thinking_image_and_cache(it):
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}}
    it.anthropic.messages.create(
        model="claude-x",
        max_tokens=2048,
        thinking={"type": "enabled", "budget_tokens": 1024},
        system=[{"type": "text", "text": "short", "cache_control": {"type": "ephemeral"}}],
        messages=[{"role": "user", "content": [image, {"type": "text", "text": "see"}]}],
    )


@case
def anthropic_count(it):
    assert it.anthropic.messages.count_tokens(model="claude-x", messages=HELLO).input_tokens > 0


@case
def anthropic_errors(it):
    try:
        it.anthropic.messages.create(model="nobody", max_tokens=9, messages=HELLO)
        raise AssertionError("nobody answers")
    except anthropic.NotFoundError as error:
        assert error.body["error"]["type"] == "not_found_error"


@case
def google_generate(it):
    answer = it.google.models.generate_content(model="gemini-x", contents="hello there")
    assert answer.text == SAID
    return answer.usage_metadata.prompt_token_count, answer.usage_metadata.candidates_token_count


@case
def google_generate_streamed(it):
    chunks = list(it.google.models.generate_content_stream(model="gemini-x", contents="hello there"))
    assert "".join(chunk.text or "" for chunk in chunks) == SAID
    used = chunks[-1].usage_metadata
    return used.prompt_token_count, used.candidates_token_count


@case
def google_tools(it):
    declared = types.FunctionDeclaration(name="look", parameters={"type": "OBJECT", "properties": {}})
    config = types.GenerateContentConfig(
        tools=[types.Tool(function_declarations=[declared])],
        automatic_function_calling=types.AutomaticFunctionCallingConfig(disable=True),
    )
    answer = it.google.models.generate_content(model="gemini-x", contents="hello", config=config)
    assert answer.function_calls[0].name == "look"


@case
def google_count(it):
    assert it.google.models.count_tokens(model="gemini-x", contents="hello").total_tokens > 0


@case
def google_errors(it):
    try:
        it.google.models.generate_content(model="nobody", contents="hello")
        raise AssertionError("nobody answers")
    except errors.ClientError as error:
        assert (error.code, error.status) == (404, "NOT_FOUND")


def document(mock):
    return GATEWAY.format(port=0, mock=mock)


def main():
    failed = []
    with running(sys.argv[1], document, SCRIPT) as (folder, base):
        clients = Clients(base)
        for run in CASES:
            before = len(accounts(folder))
            try:
                used = run(clients)
                if used:
                    keys = ("gen_ai.usage.input_tokens", "gen_ai.usage.output_tokens")
                    end = time.monotonic() + PATIENCE
                    while True:
                        # A line of the case before may come late.
                        seen = [tuple(line.get(key) for key in keys) for line in accounts(folder)[before:]]
                        if any(all(b in (None, a) for a, b in zip(line, used)) for line in seen):
                            break
                        assert time.monotonic() < end, f"{seen} accounted, {used} used"
                        time.sleep(0.01)
                print(f"  ok  {run.__name__}", flush=True)
            except Exception as error:  # noqa: BLE001 (every case has its say)
                failed.append(run.__name__)
                print(f"  FAILED  {run.__name__}: {type(error).__name__} {error}", flush=True)
    print(f"{len(CASES) - len(failed)} of {len(CASES)} cases pass")
    sys.exit(bool(failed))


main()
