"""What a client is told whose stream is cut."""

from __future__ import annotations

import json

import pytest

from tollkeeper.core.ceiling import Ceiling
from tollkeeper.domain import Call, Decision, Dialect, Effect
from tollkeeper.proxy.answer import Answer
from tollkeeper.proxy.overrun import last_words
from tollkeeper.wire.sse import Form

CALL = Call("openai", Dialect.OPENAI_CHAT, "chat", metered=True, model="m", stream=True)
DECISION = Decision(
    Effect.ALLOW, reserve_nano_usd=1_500_000, bound_output_tokens=2, cuts="agents.atlas.on_overrun"
)


def event(text: str) -> bytes:
    return b"data: " + json.dumps({"choices": [{"delta": {"content": text}}]}).encode() + b"\n\n"


@pytest.mark.parametrize("split", [1, 5, 50, 1000])
@pytest.mark.parametrize("take_out", [True, False])
def test_event_that_outgrows_is_the_last_and_the_error_follows_it(
    split: int, take_out: bool
) -> None:
    answer = Answer(CALL, "text/event-stream", "", take_out_usage=take_out)
    words = last_words(CALL, DECISION, "call-1", Form.EVENTS)
    answer.end_when(Ceiling(CALL, DECISION, None).outgrown, words)
    kept = event("one two") + event(" three")
    data = kept + event(" four") + event(" five")[:9]

    out = b""
    for at in range(0, len(data), split):
        made = answer(data[at : at + split])
        out += made if isinstance(made, bytes) else b"".join(made)

    assert out == kept + words
    assert answer.cut
    assert answer.told
    assert answer(b"") == []


def test_client_is_told_how_much_was_reserved_and_which_limit_cut_it() -> None:
    words = last_words(CALL, DECISION, "call-1", Form.EVENTS)

    error = json.loads(words.removeprefix(b"data: "))["error"]
    assert error["code"] == "budget_exhausted"
    assert "$0.0015, 2 output tokens" in error["message"]
    assert "agents.atlas.on_overrun" in error["message"]
