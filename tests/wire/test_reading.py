"""What events say of an answer, one after the other."""

from __future__ import annotations

import json
from typing import Any

from tollkeeper.domain import Dialect, Usage
from tollkeeper.wire.reading import ConversationReading


def reading(dialect: Dialect, *events: dict[str, Any]) -> ConversationReading:
    made = ConversationReading(dialect, "openai")
    for event in events:
        made.event(json.dumps(event).encode())
    return made


def test_a_tool_whose_name_ends_like_a_delta_hides_no_end() -> None:
    response = {"tools": [{"name": "x.delta"}], "usage": {"input_tokens": 1, "output_tokens": 2}}

    told = reading(Dialect.OPENAI_RESPONSES, {"type": "response.completed", "response": response})

    assert told.done
    assert told.usage() == Usage(1, 2)


def test_a_later_zero_takes_no_figure_back() -> None:
    told = reading(
        Dialect.ANTHROPIC,
        {"type": "message_start", "message": {"usage": {"input_tokens": 25, "output_tokens": 1}}},
        {"type": "message_delta", "usage": {"input_tokens": 0, "output_tokens": 15}},
    )

    assert told.usage() == Usage(25, 15)


def test_a_message_whose_end_names_no_usage_is_not_measured_by_its_beginning() -> None:
    begun = {"type": "message_start", "message": {"usage": {"input_tokens": 9, "output_tokens": 1}}}
    end = {"type": "message_stop"}

    untold = reading(Dialect.ANTHROPIC, begun, {"type": "message_delta", "delta": {}}, end)
    told = reading(
        Dialect.ANTHROPIC, begun, {"type": "message_delta", "usage": {"output_tokens": 5}}, end
    )

    assert (untold.done, told.done) == (False, True)


def test_an_event_that_was_cut_counts_by_its_texts_and_ends_nothing() -> None:
    told = ConversationReading(Dialect.OPENAI_CHAT, "openai")

    told.event(b'{"choices":[{"delta":{"content":"some wor')

    assert not told.done
    assert told.seen.most_tokens >= len("some wor")
    assert told.usage() is None
