"""SDKs of language models as users write them: one class for each dialect, one method for each scenario.

A method makes one call, looks at what came of it, and gives the tokens that the SDK was told of, or nothing where it is
told of none. Who asks which model is in `llm_matrix.py`.
"""

import json

import anthropic
import boto3
import botocore.config
import botocore.exceptions
import openai
from google import genai
from google.genai import errors, types

TEXT = "hello there"
SAID = "You said: hello there"
INPUT = {"city": "Bern \"x\"\n"}
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"], "additionalProperties": False}
PIXEL = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNoAAAAggCB2+xZ6QAAAABJRU5ErkJggg=="
)


class Chat:
    """OpenAI's chat completions."""

    def __init__(self, base):
        self.client = openai.OpenAI(base_url=f"{base}/v1", api_key="client", max_retries=0)
        self.tools = [{"type": "function", "function": {"name": "look", "description": "d", "parameters": SCHEMA}}]

    def ask(self, model, messages=None, **more):
        messages = messages or [{"role": "system", "content": "be kind"}, {"role": "user", "content": TEXT}]
        return self.client.chat.completions.create(model=model, messages=messages, **more)

    def text(self, model):
        answer = self.ask(model, temperature=0.5, max_tokens=100, stop=["zzz"])
        assert answer.choices[0].message.content == SAID, answer
        assert answer.choices[0].finish_reason == "stop"
        assert answer.usage.prompt_tokens_details.cached_tokens == 2, answer.usage
        return answer.usage.prompt_tokens, answer.usage.completion_tokens

    def stream(self, model):
        chunks = list(self.ask(model, stream=True, stream_options={"include_usage": True}))
        assert "".join(it.choices[0].delta.content or "" for it in chunks if it.choices) == SAID
        assert [it.choices[0].finish_reason for it in chunks if it.choices][-1] == "stop"
        return chunks[-1].usage.prompt_tokens, chunks[-1].usage.completion_tokens

    def stream_plain(self, model):
        chunks = list(self.ask(model, stream=True))
        assert "".join(it.choices[0].delta.content or "" for it in chunks) == SAID

    def tool(self, model):
        first = self.ask(model, tools=self.tools)
        call = first.choices[0].message.tool_calls[0]
        assert (call.function.name, json.loads(call.function.arguments)) == ("look", INPUT), call
        assert first.choices[0].finish_reason == "tool_calls"
        said = {"role": "tool", "tool_call_id": call.id, "content": "sunny"}
        messages = [{"role": "user", "content": TEXT}, first.choices[0].message, said]
        second = self.ask(model, messages, tools=self.tools)
        assert second.choices[0].message.content.startswith("You said"), second

    def tool_stream(self, model):
        chunks = [it.choices[0] for it in self.ask(model, tools=self.tools, stream=True) if it.choices]
        calls = [call for it in chunks for call in it.delta.tool_calls or []]
        assert calls[0].function.name == "look" and calls[0].id
        assert json.loads("".join(it.function.arguments or "" for it in calls)) == INPUT
        assert chunks[-1].finish_reason == "tool_calls"

    def image(self, model):
        content = [
            {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}},
            {"type": "text", "text": TEXT},
        ]
        answer = self.ask(model, [{"role": "user", "content": content}])
        assert answer.choices[0].message.content == SAID

    def think(self, model):
        answer = self.ask(f"{model}-think", reasoning_effort="high")
        assert answer.choices[0].message.content == SAID
        thought = answer.choices[0].message.reasoning_content if "responses" not in model else "hm"
        assert thought == "hm", answer
        messages = [{"role": "user", "content": TEXT}, answer.choices[0].message, {"role": "user", "content": "more"}]
        assert self.ask(f"{model}-think", messages, reasoning_effort="high").choices

    def schema(self, model):
        format_ = {"type": "json_schema", "json_schema": {"name": "place", "schema": SCHEMA, "strict": True}}
        answer = self.ask(f"{model}-json", response_format=format_)
        assert json.loads(answer.choices[0].message.content) == {"city": "Bern"}

    def error(self, model):
        for stream in (False, True):
            try:
                self.ask(f"{model}-fail", stream=stream)
            except openai.RateLimitError as error:
                assert error.body["message"], error.body
                continue
            raise AssertionError("it is to fail")


class Responses(Chat):
    """OpenAI's responses."""

    def __init__(self, base):
        super().__init__(base)
        self.tools = [{"type": "function", "name": "look", "parameters": SCHEMA, "strict": True}]

    def ask(self, model, input_=TEXT, **more):
        return self.client.responses.create(model=model, input=input_, instructions="be kind", **more)

    def text(self, model):
        answer = self.ask(model, temperature=0.5, max_output_tokens=100)
        assert (answer.output_text, answer.status) == (SAID, "completed"), answer
        return answer.usage.input_tokens, answer.usage.output_tokens

    def stream(self, model):
        with self.client.responses.stream(model=model, input=TEXT) as stream:
            kinds = [it.type for it in stream]
            answer = stream.get_final_response()
        assert answer.output_text == SAID, answer
        assert (kinds[0], kinds[-1]) == ("response.created", "response.completed"), kinds
        return answer.usage.input_tokens, answer.usage.output_tokens

    def stream_plain(self, model):
        deltas = [it.delta for it in self.ask(model, stream=True) if it.type == "response.output_text.delta"]
        assert "".join(deltas) == SAID

    def tool(self, model):
        first = self.ask(model, tools=self.tools)
        call = [it for it in first.output if it.type == "function_call"][0]
        assert (call.name, json.loads(call.arguments)) == ("look", INPUT), call
        said = {"type": "function_call_output", "call_id": call.call_id, "output": "sunny"}
        second = self.ask(model, [{"role": "user", "content": TEXT}, *first.output, said], tools=self.tools)
        assert second.output_text.startswith("You said"), second

    def tool_stream(self, model):
        with self.client.responses.stream(model=model, input=TEXT, tools=self.tools) as stream:
            list(stream)
            answer = stream.get_final_response()
        call = [it for it in answer.output if it.type == "function_call"][0]
        assert json.loads(call.arguments) == INPUT, call

    def image(self, model):
        content = [
            {"type": "input_image", "image_url": f"data:image/png;base64,{PIXEL}"},
            {"type": "input_text", "text": TEXT},
        ]
        assert self.ask(model, [{"role": "user", "content": content}]).output_text == SAID

    def think(self, model):
        first = self.ask(f"{model}-think", reasoning={"effort": "high"})
        assert first.output_text == SAID
        thought = [it for it in first.output if it.type == "reasoning"][0]
        assert thought.summary[0].text == "hm", first
        again = [{"role": "user", "content": TEXT}, *first.output, {"role": "user", "content": "more"}]
        assert self.ask(f"{model}-think", again, reasoning={"effort": "high"}).output_text

    def schema(self, model):
        format_ = {"format": {"type": "json_schema", "name": "place", "schema": SCHEMA, "strict": True}}
        assert json.loads(self.ask(f"{model}-json", text=format_).output_text) == {"city": "Bern"}


class Messages:
    """Anthropic's messages."""

    def __init__(self, base):
        self.client = anthropic.Anthropic(base_url=base, api_key="client", max_retries=0)
        self.tools = [{"name": "look", "description": "d", "input_schema": SCHEMA}]

    def terms(self, model, content=TEXT, **more):
        system = [{"type": "text", "text": "be kind", "cache_control": {"type": "ephemeral"}}]
        messages = content if isinstance(content, list) and "role" in content[0] else [{"role": "user", "content": content}]
        return {"model": model, "max_tokens": 3000, "system": system, "messages": messages, **more}

    def ask(self, *args, **more):
        return self.client.messages.create(**self.terms(*args, **more))

    def text(self, model):
        answer = self.ask(model, extra_body={"temperature": 0.5}, stop_sequences=["zzz"])
        assert (answer.content[0].text, answer.stop_reason) == (SAID, "end_turn"), answer
        assert answer.usage.cache_read_input_tokens == 2, answer.usage
        return answer.usage.input_tokens + 2, answer.usage.output_tokens

    def stream(self, model):
        with self.client.messages.stream(**self.terms(model)) as stream:
            text = "".join(stream.text_stream)
            answer = stream.get_final_message()
        assert (text, answer.stop_reason) == (SAID, "end_turn"), answer
        return answer.usage.input_tokens + 2, answer.usage.output_tokens

    def stream_plain(self, model):
        events = list(self.ask(model, stream=True))
        assert (events[0].type, events[-1].type) == ("message_start", "message_stop")

    def tool(self, model):
        first = self.ask(model, tools=self.tools)
        call = [it for it in first.content if it.type == "tool_use"][0]
        assert (call.name, call.input, first.stop_reason) == ("look", INPUT, "tool_use"), first
        result = {"type": "tool_result", "tool_use_id": call.id, "content": "sunny"}
        said = [{"role": "assistant", "content": first.content}, {"role": "user", "content": [result]}]
        second = self.ask(model, [{"role": "user", "content": TEXT}, *said], tools=self.tools)
        assert second.content[0].text.startswith("You said"), second

    def tool_stream(self, model):
        with self.client.messages.stream(**self.terms(model, tools=self.tools)) as stream:
            answer = stream.get_final_message()
        assert answer.content[-1].input == INPUT and answer.stop_reason == "tool_use", answer

    def image(self, model):
        source = {"type": "base64", "media_type": "image/png", "data": PIXEL}
        answer = self.ask(model, [{"type": "image", "source": source}, {"type": "text", "text": TEXT}])
        assert answer.content[0].text == SAID

    def think(self, model):
        thinking = {"type": "enabled", "budget_tokens": 1024}
        with self.client.messages.stream(**self.terms(f"{model}-think", thinking=thinking)) as stream:
            first = stream.get_final_message()
        assert (first.content[0].thinking, first.content[1].text) == ("hm", SAID), first
        said = [{"role": "assistant", "content": first.content}, {"role": "user", "content": "more"}]
        self.ask(f"{model}-think", [{"role": "user", "content": TEXT}, *said], thinking=thinking)

    def schema(self, model):
        output = {"format": {"type": "json_schema", "schema": SCHEMA}}
        answer = self.ask(f"{model}-json", output_config=output)
        assert json.loads(answer.content[0].text) == {"city": "Bern"}

    def error(self, model):
        for stream in (False, True):
            try:
                self.ask(f"{model}-fail", stream=stream)
            except anthropic.RateLimitError as error:
                assert error.body["error"]["type"] == "rate_limit_error"
                continue
            raise AssertionError("it is to fail")


class Gemini:
    """Google's content."""

    def __init__(self, base):
        # Without a name for it the client is closed when nobody holds it.
        self.client = genai.Client(api_key="client", http_options=types.HttpOptions(base_url=base))
        self.models = self.client.models
        declared = types.FunctionDeclaration(name="look", description="d", parameters_json_schema=SCHEMA)
        self.tools = {
            "tools": [types.Tool(function_declarations=[declared])],
            "automatic_function_calling": types.AutomaticFunctionCallingConfig(disable=True),
        }

    def ask(self, model, contents=TEXT, **config):
        config = types.GenerateContentConfig(system_instruction="be kind", **config)
        return self.models.generate_content(model=model, contents=contents, config=config)

    def ask_stream(self, model, contents=TEXT, **config):
        config = types.GenerateContentConfig(system_instruction="be kind", **config)
        return list(self.models.generate_content_stream(model=model, contents=contents, config=config))

    def text(self, model):
        answer = self.ask(model, temperature=0.5, max_output_tokens=100, stop_sequences=["zzz"])
        assert answer.text == SAID and answer.candidates[0].finish_reason == "STOP", answer
        used = answer.usage_metadata
        return used.prompt_token_count, used.candidates_token_count

    def stream(self, model):
        chunks = self.ask_stream(model)
        assert "".join(it.text or "" for it in chunks) == SAID
        used = chunks[-1].usage_metadata
        return used.prompt_token_count, used.candidates_token_count

    def stream_plain(self, model):
        assert self.ask_stream(model)[-1].candidates[0].finish_reason == "STOP"

    def tool(self, model):
        first = self.ask(model, **self.tools)
        assert (first.function_calls[0].name, first.function_calls[0].args) == ("look", INPUT), first
        said = types.Part.from_function_response(name="look", response={"result": "sunny"})
        contents = [
            types.Content(role="user", parts=[types.Part(text=TEXT)]),
            first.candidates[0].content,
            types.Content(role="user", parts=[said]),
        ]
        assert self.ask(model, contents, **self.tools).text.startswith("You said")

    def tool_stream(self, model):
        calls = [call for it in self.ask_stream(model, **self.tools) for call in it.function_calls or []]
        assert [(it.name, it.args) for it in calls] == [("look", INPUT)], calls

    def image(self, model):
        part = types.Part(inline_data=types.Blob(mime_type="image/png", data=b"\x89PNG"))
        contents = [types.Content(role="user", parts=[part, types.Part(text=TEXT)])]
        assert self.ask(model, contents).text == SAID

    def think(self, model):
        config = {"thinking_config": types.ThinkingConfig(thinking_budget=1024, include_thoughts=True)}
        first = self.ask(f"{model}-think", **config)
        parts = first.candidates[0].content.parts
        assert (parts[0].thought, parts[0].text, parts[1].text) == (True, "hm", SAID), first
        contents = [
            types.Content(role="user", parts=[types.Part(text=TEXT)]),
            first.candidates[0].content,
            types.Content(role="user", parts=[types.Part(text="more")]),
        ]
        assert self.ask(f"{model}-think", contents, **config).text

    def schema(self, model):
        answer = self.ask(f"{model}-json", response_mime_type="application/json", response_json_schema=SCHEMA)
        assert json.loads(answer.text) == {"city": "Bern"}

    def error(self, model):
        for ask in (self.ask, self.ask_stream):
            try:
                ask(f"{model}-fail")
            except errors.ClientError as error:
                assert (error.code, error.status) == (429, "RESOURCE_EXHAUSTED"), error
                continue
            raise AssertionError("it is to fail")


class Converse:
    """Bedrock's conversations."""

    def __init__(self, base):
        config = botocore.config.Config(retries={"max_attempts": 1})
        self.client = boto3.client(
            "bedrock-runtime",
            endpoint_url=base,
            region_name="eu-central-1",
            aws_access_key_id="client",
            aws_secret_access_key="client",
            config=config,
        )
        spec = {"name": "look", "description": "d", "inputSchema": {"json": SCHEMA}}
        self.tools = {"toolConfig": {"tools": [{"toolSpec": spec}]}}

    def terms(self, model, content=None, **more):
        content = content or [{"text": TEXT}]
        messages = content if "role" in content[0] else [{"role": "user", "content": content}]
        return {"modelId": model, "system": [{"text": "be kind"}], "messages": messages, **more}

    def ask(self, *args, **more):
        return self.client.converse(**self.terms(*args, **more))

    def events(self, *args, **more):
        return list(self.client.converse_stream(**self.terms(*args, **more))["stream"])

    def text(self, model):
        answer = self.ask(model, inferenceConfig={"maxTokens": 100, "temperature": 0.5, "stopSequences": ["zzz"]})
        assert answer["output"]["message"]["content"] == [{"text": SAID}], answer
        assert answer["stopReason"] == "end_turn" and answer["usage"]["cacheReadInputTokens"] == 2
        return answer["usage"]["inputTokens"] + 2, answer["usage"]["outputTokens"]

    def stream(self, model):
        events = self.events(model)
        said = [it["contentBlockDelta"]["delta"].get("text", "") for it in events if "contentBlockDelta" in it]
        assert "".join(said) == SAID
        used = events[-1]["metadata"]["usage"]
        return used["inputTokens"] + 2, used["outputTokens"]

    def stream_plain(self, model):
        events = self.events(model)
        assert "messageStart" in events[0] and events[-2]["messageStop"]["stopReason"] == "end_turn"

    def tool(self, model):
        first = self.ask(model, **self.tools)
        message = first["output"]["message"]
        call = message["content"][-1]["toolUse"]
        assert (call["name"], call["input"], first["stopReason"]) == ("look", INPUT, "tool_use"), first
        result = {"toolResult": {"toolUseId": call["toolUseId"], "content": [{"text": "sunny"}]}}
        content = [{"role": "user", "content": [{"text": TEXT}]}, message, {"role": "user", "content": [result]}]
        second = self.ask(model, content, **self.tools)
        assert second["output"]["message"]["content"][0]["text"].startswith("You said"), second

    def tool_stream(self, model):
        events = self.events(model, **self.tools)
        deltas = [it["contentBlockDelta"]["delta"] for it in events if "contentBlockDelta" in it]
        said = "".join(it["toolUse"]["input"] for it in deltas if "toolUse" in it)
        assert json.loads(said) == INPUT, said

    def image(self, model):
        image = {"image": {"format": "png", "source": {"bytes": b"\x89PNG"}}}
        answer = self.ask(model, [image, {"text": TEXT}])
        assert answer["output"]["message"]["content"] == [{"text": SAID}]

    def think(self, model):
        further = {"additionalModelRequestFields": {"thinking": {"type": "enabled", "budget_tokens": 1024}}}
        first = self.ask(f"{model}-think", inferenceConfig={"maxTokens": 3000}, **further)
        message = first["output"]["message"]
        thought = message["content"][0]["reasoningContent"]["reasoningText"]["text"]
        assert (thought, message["content"][1]["text"]) == ("hm", SAID), first
        content = [{"role": "user", "content": [{"text": TEXT}]}, message, {"role": "user", "content": [{"text": "more"}]}]
        self.ask(f"{model}-think", content, inferenceConfig={"maxTokens": 3000}, **further)

    def schema(self, model):
        structure = {"jsonSchema": {"schema": json.dumps(SCHEMA), "name": "place"}}
        output = {"outputConfig": {"textFormat": {"type": "json_schema", "structure": structure}}}
        answer = self.ask(f"{model}-json", **output)
        assert json.loads(answer["output"]["message"]["content"][0]["text"]) == {"city": "Bern"}

    def error(self, model):
        for ask in (self.ask, self.events):
            try:
                ask(f"{model}-fail")
            except self.client.exceptions.ThrottlingException:
                continue
            raise AssertionError("it is to fail")


CLIENTS = {"chat": Chat, "responses": Responses, "messages": Messages, "gemini": Gemini, "converse": Converse}
SCENARIOS = ["text", "stream", "stream_plain", "tool", "tool_stream", "image", "think", "schema", "error"]
