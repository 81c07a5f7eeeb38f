from __future__ import annotations

import json
from dataclasses import replace

import pytest

from tollkeeper import facts
from tollkeeper.domain import Changes, Dialect, Provider
from tollkeeper.errors import WireError
from tollkeeper.wire import route
from tollkeeper.wire.dialect import Inbound
from wire.conftest import parse_bytes

OWN = Provider(name="my-vllm", hosts=("llm.corp.example",), api="openai")


@pytest.mark.parametrize(
    ("provider", "method", "path", "operation", "dialect", "metered", "model"),
    [
        ("openai", "POST", "/v1/chat/completions", "chat", Dialect.OPENAI_CHAT, True, None),
        ("openai", "POST", "/v1/responses", "responses", Dialect.OPENAI_RESPONSES, True, None),
        ("openai", "GET", "/v1/models", "models", Dialect.OPENAI_CHAT, False, None),
        ("anthropic", "POST", "/v1/messages", "messages", Dialect.ANTHROPIC, True, None),
        ("anthropic", "GET", "/v1/models", "models", Dialect.ANTHROPIC, False, None),
        (
            "google",
            "POST",
            "/v1beta/models/g-1:generateContent",
            "generate",
            Dialect.GEMINI,
            True,
            "g-1",
        ),
        (
            "google",
            "POST",
            "/v1/models/g-1:streamGenerateContent",
            "stream_generate",
            Dialect.GEMINI,
            True,
            "g-1",
        ),
        (
            "google",
            "POST",
            "/v1beta/models/g-1:countTokens",
            "count_tokens",
            Dialect.GEMINI,
            False,
            "g-1",
        ),
        (
            "google",
            "POST",
            "/v1beta/openai/chat/completions",
            "chat",
            Dialect.OPENAI_CHAT,
            True,
            None,
        ),
        ("groq", "POST", "/openai/v1/chat/completions", "chat", Dialect.OPENAI_CHAT, True, None),
    ],
)
def test_known_endpoints_are_recognised(
    provider, method, path, operation, dialect, metered, model
) -> None:
    endpoint = route.recognise(facts.providers()[provider], method, path)

    assert endpoint is not None
    assert (endpoint.operation, endpoint.dialect, endpoint.metered, endpoint.model) == (
        operation,
        dialect,
        metered,
        model,
    )


@pytest.mark.parametrize(
    "path",
    [
        "/v1/chat/completions/",
        "//v1/chat/completions",
        "/v1//chat/completions",
        "/v1/./chat/completions",
        "/v1/x/../chat/completions",
        "/v1/chat%2Fcompletions",
        "/v1/%63hat/completions",
        "/V1/chat/completions",
        "/v1/Chat/completions",
        "/v1/chat/completions;x",
        "/v1/chat/completions\n",
        "/v1/novelty",
        "",
        "*",
    ],
)
def test_any_other_spelling_is_an_unknown_endpoint(path) -> None:
    assert route.recognise(facts.providers()["openai"], "POST", path) is None


def test_any_other_method_is_an_unknown_endpoint() -> None:
    assert route.recognise(facts.providers()["openai"], "GET", "/v1/chat/completions") is None
    assert route.recognise(facts.providers()["openai"], "post", "/v1/chat/completions") is None


def test_unknown_endpoints_are_refused_in_the_dialect_of_their_mount() -> None:
    at = facts.providers()

    assert route.dialect_at(at["anthropic"], "POST", "/v1/novelty") is Dialect.ANTHROPIC
    assert route.dialect_at(at["google"], "POST", "/v1beta/novelty") is Dialect.GEMINI
    assert route.dialect_at(replace(at["openai"], api="none"), "POST", "/x") is Dialect.OPENAI_CHAT


@pytest.mark.parametrize("charset", ["utf-16", '"latin-1"', "UTF-7"])
def test_another_charset_than_utf_8_is_refused(parse_raw, charset) -> None:
    body = b'{"model":"m","messages":[]}'

    with pytest.raises(WireError, match="send UTF-8"):
        parse_raw(body, headers={"content-type": f"application/json; charset={charset}"})
    assert parse_raw(body, headers={"content-type": "application/json; charset=UTF-8"}).model == "m"


def test_half_a_surrogate_pair_is_refused(parse_raw) -> None:
    with pytest.raises(WireError, match="surrogate"):
        parse_raw(b'{"model":"m","messages":[{"role":"user","content":"\\ud83d"}]}')


def test_a_free_endpoint_names_its_model_and_costs_nothing() -> None:
    provider = facts.providers()["anthropic"]
    endpoint = route.recognise(provider, "POST", "/v1/messages/count_tokens")
    assert endpoint is not None
    body = b'{"model":"claude-sonnet-4-5","messages":[]}'

    call = route.parse(
        Inbound(provider, "POST", "/v1/messages/count_tokens", "", {}, body), endpoint
    )

    assert (call.metered, call.model, call.operation) == (
        False,
        "claude-sonnet-4-5",
        "count_tokens",
    )


BODY = b'{ "model": "alias",\n  "messages": [ {"role":"user","content":"h\\u00e9"} ], "stream": true }\n'


def test_nothing_to_change_gives_back_the_very_body(parse_raw) -> None:
    call = parse_raw(BODY)

    body, path = route.rewrite(call, BODY, "/v1/chat/completions", Changes(), include_usage=False)

    assert body is BODY
    assert path == "/v1/chat/completions"


def test_a_rewrite_changes_only_what_was_decided(parse_raw) -> None:
    changes = Changes(max_output_tokens=100, model="llama-3.1-8b-instant", provider="groq")

    body, _ = route.rewrite(
        parse_raw(BODY), BODY, "/v1/chat/completions", changes, include_usage=True
    )

    assert body == (
        b'{ "model": "llama-3.1-8b-instant",\n  "messages": [ {"role":"user","content":"h\\u00e9"} ], "stream": true,'
        b' "max_tokens": 100, "stream_options": {"include_usage": true} }\n'
    )


@pytest.mark.parametrize(
    ("provider", "given", "expected"),
    [
        ("openai", {}, {"max_completion_tokens": 7}),
        ("openai", {"max_tokens": 90}, {"max_tokens": 7}),
        ("openai", {"max_tokens": None}, {"max_completion_tokens": 7}),
        ("openai", {"max_completion_tokens": 90}, {"max_completion_tokens": 7}),
        (
            "openai",
            {"max_tokens": 90, "max_completion_tokens": 80},
            {"max_tokens": 7, "max_completion_tokens": 7},
        ),
        ("mistral", {}, {"max_tokens": 7}),
    ],
)
def test_the_limit_of_a_chat_goes_where_its_provider_takes_it(
    parse, provider, given, expected
) -> None:
    body = {"model": "m", "messages": [], **given}
    call = parse("chat", provider=provider, **body)

    after, _ = route.rewrite(
        call,
        json.dumps(body).encode(),
        "/v1/chat/completions",
        Changes(max_output_tokens=7),
        include_usage=False,
    )

    said = json.loads(after)
    assert {key: said.get(key) for key in expected} == expected
    assert (
        route.rewrite(call, after, "/x", Changes(max_output_tokens=7), include_usage=False)[0]
        == after
    )


@pytest.mark.parametrize(
    ("kind", "given", "expected"),
    [
        ("responses", {}, {"max_output_tokens": 7}),
        ("messages", {}, {"max_tokens": 7}),
        ("gemini", {}, {"generationConfig": {"maxOutputTokens": 7}}),
        (
            "gemini",
            {"generationConfig": {"topK": 1}},
            {"generationConfig": {"topK": 1, "maxOutputTokens": 7}},
        ),
        (
            "gemini",
            {"generation_config": {"max_output_tokens": 90}},
            {"generation_config": {"max_output_tokens": 7}},
        ),
    ],
)
def test_the_limit_of_other_dialects_has_one_place(parse, kind, given, expected) -> None:
    call = parse(kind, **given)
    body = json.dumps({"contents": [], **given}).encode()

    after, _ = route.rewrite(call, body, "/v1/x", Changes(max_output_tokens=7), include_usage=False)

    assert json.loads(after) == {"contents": [], **expected}


def test_a_gemini_alias_is_changed_in_the_path_and_where_the_body_repeats_it(parse) -> None:
    path = "/v1beta/models/gemini-2.5-pro:generateContent"
    call, changes = parse("gemini"), Changes(model="gemini-2.5-flash")

    plain = route.rewrite(call, b'{"contents":[]}', path, changes, include_usage=False)
    repeated = route.rewrite(
        call, b'{"model":"models/gemini-2.5-pro"}', path, changes, include_usage=False
    )

    assert plain == (b'{"contents":[]}', "/v1beta/models/gemini-2.5-flash:generateContent")
    assert repeated[0] == b'{"model":"models/gemini-2.5-flash"}'


@pytest.mark.parametrize(
    ("kind", "given", "wanted"),
    [
        ("chat", {"stream": True}, True),
        ("chat", {}, False),
        ("chat", {"stream": True, "stream_options": {"include_usage": True}}, False),
        ("chat", {"stream": True, "stream_options": {"include_usage": False}}, True),
        ("chat", {"stream": True, "stream_options": None}, True),
        ("chat", {"stream": True, "stream_options": {}}, True),
        ("chat", {"stream": True, "user": '"include_usage": true'}, True),
        ("chat", {"stream": True, "provider": "mistral"}, False),
        ("chat", {"stream": True, "provider": "mistral-regional"}, False),
        ("responses", {"stream": True}, False),
        ("messages", {"stream": True}, False),
        ("gemini-stream", {}, False),
    ],
)
def test_the_usage_event_is_asked_for_where_it_is_missing(parse, kind, given, wanted) -> None:
    call = parse(kind, **given)
    body = json.dumps({key: value for key, value in given.items() if key != "provider"}).encode()

    assert route.wants_usage_event(call, body) is wanted


@pytest.mark.parametrize(
    ("provider", "prefix"), [("cohere", "/compatibility/v1"), ("fireworks", "/inference/v1")]
)
def test_the_usage_event_is_not_asked_for_where_that_is_refused(parse, provider, prefix) -> None:
    call = parse("chat", provider=provider, path=f"{prefix}/chat/completions", stream=True)

    assert not route.wants_usage_event(call, b"{}")


def test_stream_options_written_with_escapes_are_seen(parse) -> None:
    body = b'{"stream_options":{"\\u0069nclude_usage":true}}'

    assert not route.wants_usage_event(parse("chat", stream=True), body)


def test_a_provider_of_the_owners_own_is_read_like_its_api() -> None:
    endpoint = route.recognise(OWN, "POST", "/v1/chat/completions")

    assert endpoint is not None
    assert endpoint.dialect is Dialect.OPENAI_CHAT


@pytest.mark.parametrize(
    "kind", ["multipart/form-data; boundary=B0", "Multipart/Mixed", "multipart/x"]
)
@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/responses", {"model": "gpt-4o", "input": "x", "previous_response_id": "resp_1"}),
        ("/v1/chat/completions", {"model": "gpt-4o", "messages": []}),
        ("/v1/embeddings", {"model": "text-embedding-3-small", "input": "x"}),
        ("/v1/audio/speech", {"model": "tts-1", "input": "x", "voice": "alloy"}),
    ],
)
def test_body_of_a_json_endpoint_that_says_it_is_a_form_is_refused(
    path: str, body: dict[str, str], kind: str
) -> None:
    with pytest.raises(WireError, match="JSON"):
        parse_bytes(json.dumps(body).encode(), "openai", path, {"content-type": kind})


@pytest.mark.parametrize(
    "kind",
    [
        "application/json; charset=utf-16",
        "application/json; charset='utf-7'",
        "application/json; charset=utf-8; charset=utf-7",
        "application/json; charset*=utf-16''x",
        'application/json; Charset="utf-8", application/json; charset=latin-1',
    ],
)
def test_no_second_charset_stands_behind_a_readable_one(kind: str) -> None:
    body = b'{"model": "gpt-4o", "messages": []}'

    with pytest.raises(WireError, match="UTF-8"):
        parse_bytes(body, "openai", "/v1/chat/completions", {"content-type": kind})
