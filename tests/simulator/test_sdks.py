"""The real SDKs read the simulator's answers as they read their providers'."""

from __future__ import annotations

import anthropic
import openai
import pytest
from google import genai
from google.genai import types

HELLO = "Hello from the simulated gpt-4o."
LOOKUP = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
    "required": ["city", "days"],
}
CHAT_TOOL = {"type": "function", "function": {"name": "weather", "parameters": LOOKUP}}


@pytest.fixture
def gpt(http):
    return openai.OpenAI(api_key="sk-test", http_client=http, max_retries=0)


@pytest.fixture
def claude(http):
    return anthropic.Anthropic(api_key="sk-ant-test", http_client=http, max_retries=0)


@pytest.fixture
def gemini(http):
    return genai.Client(api_key="g-test", http_options=types.HttpOptions(httpx_client=http))


def user(text):
    return [{"role": "user", "content": text}]


# ------------------------------------------------------------------------------- OpenAI chat


def test_chat_answers_with_usage(gpt, lab):
    answer = gpt.chat.completions.create(model="gpt-4o", messages=user("hi there"))

    assert answer.choices[0].message.content == HELLO
    assert answer.choices[0].finish_reason == "stop"
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (2 + 4 + 3, 5)
    assert lab.bill()["usage"]["output_tokens"] == 5


def test_chat_usage_shows_cache_reads_and_reasoning_inside_their_wholes(gpt):
    answer = gpt.chat.completions.create(
        model="o3", messages=user("[sim input=500 cache_read=100 reasoning=30 tokens=7]")
    )

    usage = answer.usage
    assert (usage.prompt_tokens, usage.prompt_tokens_details.cached_tokens) == (500, 100)
    assert (usage.completion_tokens, usage.completion_tokens_details.reasoning_tokens) == (37, 30)
    assert usage.total_tokens == 537


def test_chat_gives_every_choice_and_bills_each(gpt):
    answer = gpt.chat.completions.create(model="gpt-4o", messages=user("[sim tokens=3]"), n=4)

    assert [choice.index for choice in answer.choices] == [0, 1, 2, 3]
    assert answer.usage.completion_tokens == 12


@pytest.mark.parametrize("member", ["max_tokens", "max_completion_tokens"])
@pytest.mark.parametrize("stream", [False, True])
def test_chat_stops_at_the_output_limit(gpt, lab, member, stream):
    given = {"model": "gpt-4o", "messages": user("[sim tokens=50]"), member: 10, "stream": stream}
    answer = gpt.chat.completions.create(**given)

    if stream:
        reasons = [c.choices[0].finish_reason for c in answer]
        assert reasons[-1] == "length"
    else:
        assert answer.choices[0].finish_reason == "length"
    assert lab.bill()["usage"]["output_tokens"] == 10


def test_chat_stream_has_no_usage_unless_it_was_asked_for(gpt, lab):
    chunks = list(gpt.chat.completions.create(model="gpt-4o", messages=user("hi"), stream=True))

    assert "".join(c.choices[0].delta.content or "" for c in chunks) == HELLO
    assert all(c.usage is None and "usage" not in c.model_fields_set for c in chunks)
    assert lab.bill()["usage"]["output_tokens"] == 5


def test_chat_stream_ends_with_a_usage_event_when_asked(gpt):
    chunks = list(
        gpt.chat.completions.create(
            model="gpt-4o",
            messages=user("[sim tokens=6 reasoning=4 unknown_usage=moon_tokens]"),
            stream=True,
            stream_options={"include_usage": True},
        )
    )

    *others, last = chunks
    assert all(c.usage is None and "usage" in c.model_fields_set for c in others)
    assert last.choices == []
    assert last.usage.completion_tokens == 10
    assert last.usage.moon_tokens == 1


@pytest.mark.parametrize(
    "choice", ["required", {"type": "function", "function": {"name": "weather"}}]
)
def test_chat_calls_the_tool_that_the_request_insists_on(gpt, choice):
    answer = gpt.chat.completions.create(
        model="gpt-4o", messages=user("hi"), tools=[CHAT_TOOL], tool_choice=choice
    )

    (call,) = answer.choices[0].message.tool_calls
    assert answer.choices[0].finish_reason == "tool_calls"
    assert (call.function.name, call.function.arguments) == (
        "weather",
        '{"city":"simulated","days":1}',
    )


def test_chat_streams_a_tool_call_in_pieces_that_the_sdk_joins(gpt):
    words = '[sim tokens=3 tool=weather args={"city":"Bern","days":2}]'
    with gpt.chat.completions.stream(
        model="gpt-4o", messages=user(words), tools=[CHAT_TOOL]
    ) as stream:
        message = stream.get_final_completion().choices[0].message

    assert message.content == "the quick brown"
    assert message.tool_calls[0].function.arguments == '{"city":"Bern","days":2}'


def test_a_tools_result_is_not_read_for_directives(gpt):
    called = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
    answer = gpt.chat.completions.create(
        model="gpt-4o",
        messages=[
            *user("[sim tool=weather]"),
            {"role": "assistant", "tool_calls": [called]},
            {"role": "tool", "tool_call_id": "c1", "content": "[sim status=500] sunny"},
        ],
    )

    assert answer.choices[0].message.content == HELLO


# --------------------------------------------------------------------------------- Responses


def test_responses_answer_with_usage(gpt):
    answer = gpt.responses.create(model="gpt-4o", instructions="Be kind.", input="hi there")

    assert answer.output_text == HELLO
    assert answer.status == "completed"
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (2 + 2 + 4 + 3, 5)


def test_responses_that_meet_the_limit_are_incomplete(gpt):
    answer = gpt.responses.create(
        model="o3", input=user("[sim tokens=50 reasoning=8]"), max_output_tokens=20
    )

    assert answer.status == "incomplete"
    assert answer.incomplete_details.reason == "max_output_tokens"
    assert answer.usage.output_tokens == 20
    assert answer.usage.output_tokens_details.reasoning_tokens == 8
    assert [item.type for item in answer.output] == ["reasoning", "message"]


def test_responses_stream_their_events_in_the_documented_order(gpt):
    events = list(gpt.responses.create(model="gpt-4o", input="[sim tokens=2]", stream=True))

    assert [event.type.removeprefix("response.") for event in events] == [
        "created", "in_progress", "output_item.added", "content_part.added",
        "output_text.delta", "output_text.delta", "output_text.done",
        "content_part.done", "output_item.done", "completed",
    ]  # fmt: skip
    assert [event.sequence_number for event in events] == list(range(10))
    assert events[-1].response.usage.output_tokens == 2
    assert events[0].response.usage is None


def test_responses_stream_a_tool_call(gpt):
    tool = {"type": "function", "name": "weather", "parameters": LOOKUP}
    with gpt.responses.stream(
        model="gpt-4o", input="hi", tools=[tool], tool_choice="required"
    ) as s:
        types_seen = [event.type.removeprefix("response.") for event in s]
        final = s.get_final_response()

    assert types_seen[2:4] == ["output_item.added", "function_call_arguments.delta"]
    assert types_seen[-3:] == ["function_call_arguments.done", "output_item.done", "completed"]
    assert final.output[0].arguments == '{"city":"simulated","days":1}'


def test_responses_input_tokens_are_counted_and_free(gpt, lab):
    counted = gpt.responses.input_tokens.count(model="gpt-4o", input="hi there")

    assert counted.input_tokens == 9
    assert lab.bill()["calls"] == 0


# --------------------------------------------------------------------------------- Anthropic


def test_messages_answer_with_exclusive_input_tokens(claude, lab):
    answer = claude.messages.create(
        model="claude-haiku-4-5",
        max_tokens=100,
        messages=user("[sim input=900 cache_read=300 cache_write=200 cache_write_1h=50 tokens=4]"),
    )

    usage = answer.usage
    assert answer.stop_reason == "end_turn"
    assert usage.input_tokens == 900 - 300 - 250
    assert (usage.cache_read_input_tokens, usage.cache_creation_input_tokens) == (300, 250)
    assert usage.cache_creation.ephemeral_5m_input_tokens == 200
    assert usage.cache_creation.ephemeral_1h_input_tokens == 50
    assert lab.bill()["usage"]["input_tokens"] == 900


def test_messages_stream_their_events_in_order_with_cumulative_usage(claude):
    with claude.messages.create(
        model="claude-haiku-4-5", max_tokens=5, messages=user("[sim tokens=9]"), stream=True
    ) as stream:
        events = list(stream)

    assert [event.type for event in events] == [
        "message_start", "content_block_start", *["content_block_delta"] * 5,
        "content_block_stop", "message_delta", "message_stop",
    ]  # fmt: skip
    assert events[0].message.usage.output_tokens == 1
    assert events[-2].usage.output_tokens == 5
    assert events[-2].delta.stop_reason == "max_tokens"


def test_messages_stream_pings_on_the_wire(http):
    body = {"model": "claude-x", "max_tokens": 9, "stream": True, "messages": user("hi")}
    answer = http.post("https://api.anthropic.com/v1/messages", json=body)

    assert 'event: ping\ndata: {"type":"ping"}\n\n' in answer.text


@pytest.mark.parametrize("stream", [False, True])
def test_messages_think_speak_and_call_a_tool(claude, stream):
    words = '[sim reasoning=3 tokens=2 tool=weather args={"city":"Bern","days":2}]'
    given = {
        "model": "claude-haiku-4-5",
        "max_tokens": 100,
        "messages": user(words),
        "tools": [{"name": "weather", "input_schema": LOOKUP}],
    }
    if stream:
        with claude.messages.stream(**given) as s:
            answer = s.get_final_message()
    else:
        answer = claude.messages.create(**given)

    assert [block.type for block in answer.content] == ["thinking", "text", "tool_use"]
    assert answer.content[2].input == {"city": "Bern", "days": 2}
    assert answer.stop_reason == "tool_use"
    assert answer.usage.output_tokens == 3 + 2 + 6


def test_messages_tokens_are_counted_and_free(claude, lab):
    counted = claude.messages.count_tokens(model="claude-haiku-4-5", messages=user("hi there"))

    assert counted.input_tokens == 9
    assert lab.bill()["calls"] == 0


# ------------------------------------------------------------------------------------ Gemini


def test_gemini_answers_with_thoughts_beside_candidates(gemini, lab):
    answer = gemini.models.generate_content(
        model="gemini-2.5-flash", contents="[sim input=400 cache_read=100 reasoning=20 tokens=5]"
    )

    usage = answer.usage_metadata
    assert answer.text == "the quick brown fox jumps"
    assert (usage.prompt_token_count, usage.cached_content_token_count) == (400, 100)
    assert (usage.candidates_token_count, usage.thoughts_token_count) == (5, 20)
    assert usage.total_token_count == 425
    assert lab.bill()["usage"]["output_tokens"] == 25


def test_gemini_streams_cumulative_usage(gemini, lab):
    chunks = list(
        gemini.models.generate_content_stream(
            model="gemini-2.5-flash",
            contents="[sim tokens=9]",
            config=types.GenerateContentConfig(max_output_tokens=3),
        )
    )

    assert [c.usage_metadata.candidates_token_count for c in chunks] == [1, 2, 3]
    assert chunks[-1].candidates[0].finish_reason == types.FinishReason.MAX_TOKENS
    assert lab.bill()["usage"]["output_tokens"] == 3


def test_gemini_calls_the_tool_that_the_request_insists_on(gemini):
    declared = types.FunctionDeclaration(name="weather", parameters_json_schema=LOOKUP)
    calling = types.FunctionCallingConfig(mode="ANY")
    answer = gemini.models.generate_content(
        model="gemini-2.5-flash",
        contents="hi",
        config=types.GenerateContentConfig(
            tools=[types.Tool(function_declarations=[declared])],
            tool_config=types.ToolConfig(function_calling_config=calling),
        ),
    )

    assert answer.function_calls[0].name == "weather"
    assert answer.function_calls[0].args == {"city": "simulated", "days": 1}


def test_gemini_streams_a_json_array_without_alt_sse(http):
    url = "https://generativelanguage.googleapis.com/v1beta/models/g:streamGenerateContent"
    body = {"contents": [{"role": "user", "parts": [{"text": "[sim tokens=3]"}]}]}

    answer = http.post(url, json=body, headers={"x-goog-api-key": "k"})

    assert answer.headers["content-type"] == "application/json"
    assert len(answer.json()) == 3
    assert answer.json()[-1]["usageMetadata"]["candidatesTokenCount"] == 3


def test_gemini_tokens_are_counted_and_free(gemini, lab):
    counted = gemini.models.count_tokens(model="gemini-2.5-flash", contents="hi there")

    assert counted.total_tokens == 9
    assert lab.bill()["calls"] == 0


# ---------------------------------------------------------------------- lists, keys, errors


def test_every_sdk_reads_its_list_of_models(gpt, claude, gemini):
    assert "gpt-4o" in [model.id for model in gpt.models.list()]
    assert "claude-haiku-4-5" in [model.id for model in claude.models.list()]
    assert "models/gemini-2.5-flash" in [model.name for model in gemini.models.list()]


def test_a_wrong_key_is_refused_in_each_providers_way(gpt, claude, gemini, lab):
    hosts = ("api.openai.com", "api.anthropic.com", "generativelanguage.googleapis.com")
    lab.expect_keys({host: ["the-real-one"] for host in hosts})

    with pytest.raises(openai.AuthenticationError, match="Incorrect API key"):
        gpt.chat.completions.create(model="gpt-4o", messages=user("hi"))
    with pytest.raises(anthropic.AuthenticationError):
        claude.messages.create(model="claude-x", max_tokens=9, messages=user("hi"))
    with pytest.raises(genai.errors.ClientError, match="API key not valid"):
        gemini.models.generate_content(model="gemini-2.5-flash", contents="hi")
    assert lab.bill()["calls"] == 0


def test_the_right_key_is_accepted(http, lab):
    lab.expect_keys({"api.openai.com": ["sk-right"]})
    client = openai.OpenAI(api_key="sk-right", http_client=http)

    assert client.chat.completions.create(model="gpt-4o", messages=user("hi")).choices


@pytest.mark.parametrize(
    ("status", "of_openai", "of_anthropic"),
    [
        (400, openai.BadRequestError, anthropic.BadRequestError),
        (403, openai.PermissionDeniedError, anthropic.PermissionDeniedError),
        (404, openai.NotFoundError, anthropic.NotFoundError),
        (429, openai.RateLimitError, anthropic.RateLimitError),
        (500, openai.InternalServerError, anthropic.InternalServerError),
    ],
)
def test_ordered_errors_raise_the_sdks_own_exceptions(
    gpt, claude, gemini, lab, status, of_openai, of_anthropic
):
    words = f"[sim status={status} message=Out%20of%20luck]"

    with pytest.raises(of_openai, match="Out of luck"):
        gpt.responses.create(model="gpt-4o", input=words)
    with pytest.raises(of_anthropic, match="Out of luck"):
        claude.messages.create(model="claude-x", max_tokens=9, messages=user(words))
    with pytest.raises(genai.errors.APIError, match="Out of luck"):
        gemini.models.generate_content(model="gemini-2.5-flash", contents=words)
    assert lab.bill()["calls"] == 0
