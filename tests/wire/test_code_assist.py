from __future__ import annotations

import json
from typing import Any

import pytest

from tollkeeper import facts
from tollkeeper.domain import Call, Changes, Dialect
from tollkeeper.errors import WireError
from tollkeeper.wire import route
from tollkeeper.wire.dialect import Inbound

PATH = "/v1internal:generateContent"
INNER = {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]}


def parse(path: str = PATH, **given: Any) -> Call:
    body = {"model": "gemini-2.5-pro", "project": "p", "request": INNER, **given}
    return parse_raw(json.dumps({k: v for k, v in body.items() if v is not ...}), path)


def parse_raw(text: str, path: str = PATH) -> Call:
    provider = facts.providers()["gemini-code-assist"]
    endpoint = route.recognise(provider, "POST", path)
    assert endpoint is not None
    return route.parse(Inbound(provider, "POST", path, "", {}, text.encode()), endpoint)


def test_envelope_is_read_as_the_gemini_call_in_it() -> None:
    call = parse(request=INNER | {"generationConfig": {"maxOutputTokens": 9}, "session_id": "s"})

    assert (call.dialect, call.model, call.stream) == (Dialect.CODE_ASSIST, "gemini-2.5-pro", False)
    assert (call.max_output_tokens, call.prompt) == (9, "hi")
    assert call.unknown_parameters == ()
    assert parse("/v1internal:streamGenerateContent").stream


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"model": ...}, "model is missing"),
        ({"model": 5}, "model must be text"),
        ({"model": "models/"}, "model is missing"),
        ({"request": ...}, "request is missing"),
        ({"request": []}, "request is missing"),
        ({"request": {}}, "contents is missing"),
        ({"request": INNER | {"model": "gemini-2.5-flash"}}, "the body another one"),
        ({"enabled_credit_types": [], "enabledCreditTypes": ["X"]}, "one field; send it once"),
        ({"user_prompt_id": "a", "userPromptId": "b"}, "one field; send it once"),
        ({"enabled_credit_types": "GOOGLE_ONE_AI"}, "must be a list"),
    ],
)
def test_what_is_missing_or_of_the_wrong_type_is_refused_in_one_sentence(
    given: dict[str, Any], says: str
) -> None:
    with pytest.raises(WireError, match=says):
        parse(**given)


def test_key_that_stands_twice_in_the_inner_request_is_refused() -> None:
    with pytest.raises(WireError, match="twice"):
        parse_raw('{"model":"m","request":{"contents":[],"contents":[{"parts":"x"}]}}')


def test_approval_is_bound_to_model_and_project_and_not_to_the_prompts_id() -> None:
    same = parse(user_prompt_id="1").approval_digest

    assert parse(user_prompt_id="2").approval_digest == same
    assert parse(model="gemini-2.5-flash").approval_digest != same
    assert parse(project="another").approval_digest != same
    assert parse(enabled_credit_types=["GOOGLE_ONE_AI"]).approval_digest != same


@pytest.mark.parametrize(
    ("request_text", "expected"),
    [
        ('{"contents":[ ]}', '{"contents":[ ],"generationConfig":{"maxOutputTokens":7}}'),
        (
            '{"generation_config":{"max_output_tokens":900} ,"contents":[]}',
            '{"generation_config":{"max_output_tokens":7} ,"contents":[]}',
        ),
    ],
)
def test_limit_is_spliced_into_the_inner_request_alone(request_text: str, expected: str) -> None:
    before, after = '{ "model": "gemini-2.5-pro",\n"request":', ', "project":"caf\\u00e9é"}'
    text = before + request_text + after
    call = parse_raw(text)

    body, path = route.rewrite(
        call, text.encode(), PATH, Changes(max_output_tokens=7), include_usage=False
    )

    written = body.decode()
    assert path == PATH
    assert written.startswith(before)
    assert written.endswith(after)
    inner = written.removeprefix(before).removesuffix(after)
    assert json.loads(inner) == json.loads(expected)


def test_alias_changes_the_model_of_the_envelope() -> None:
    text = '{"model": "fast", "request": {"contents":[]}}'
    call = parse_raw(text)

    body, _ = route.rewrite(
        call, text.encode(), PATH, Changes(model="gemini-2.5-pro"), include_usage=False
    )

    assert body == b'{"model": "gemini-2.5-pro", "request": {"contents":[]}}'
