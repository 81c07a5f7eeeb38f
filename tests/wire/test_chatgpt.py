from __future__ import annotations

from collections.abc import Callable

from tollkeeper.domain import Call, Dialect

PATH = "/backend-api/codex/responses"


def test_output_limit_that_the_backend_does_not_take_bounds_nothing(
    parse: Callable[..., Call],
) -> None:
    call = parse("responses", provider="chatgpt", path=PATH, max_output_tokens=16)

    assert call.dialect is Dialect.OPENAI_RESPONSES
    assert call.max_output_tokens is None
    assert "no_output_limit" in call.features


def test_compaction_is_metered_like_an_answer(parse: Callable[..., Call]) -> None:
    call = parse("responses", provider="chatgpt", path=f"{PATH}/compact")

    assert (call.operation, call.metered) == ("responses_compact", True)
