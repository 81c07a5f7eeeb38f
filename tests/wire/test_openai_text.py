from __future__ import annotations

import json
from typing import Any

import pytest

from tollkeeper.domain import Changes
from tollkeeper.errors import WireError
from tollkeeper.wire import route
from wire.asking import asked

PATH = "/v1/completions"


@pytest.mark.parametrize(
    ("body", "choices", "at_least"),
    [
        ({"prompt": "x" * 300}, 1, 300),
        ({"prompt": ["x" * 300, "y" * 300], "n": 2}, 4, 600),
        ({"prompt": ["x"], "n": 2, "best_of": 5}, 5, 1),
        ({"prompt": [5] * 300}, 1, 300),
        ({"prompt": [[5] * 300, [6] * 300], "best_of": 3}, 6, 600),
        ({"prompt": None}, 1, 0),
        ({}, 1, 0),
        ({"prompt": "x", "suffix": "y" * 300}, 1, 300),
    ],
)
def test_every_prompt_is_completed_as_often_as_asked(
    body: dict[str, Any], choices: int, at_least: int
) -> None:
    call = asked(PATH, {"model": "gpt-3.5-turbo-instruct", **body})

    assert call.choices == choices
    assert call.head_bound_tokens >= at_least


@pytest.mark.parametrize("prompt", [5, [], ["x", 5], [[5, "x"]], {"text": "x"}, [True]])
def test_a_prompt_of_another_kind_is_refused(prompt: object) -> None:
    with pytest.raises(WireError, match="prompt must be"):
        asked(PATH, {"model": "m", "prompt": prompt})


def test_a_limit_and_the_usage_event_are_put_in() -> None:
    body = {"model": "m", "prompt": "x", "stream": True}
    raw, call = json.dumps(body).encode(), asked(PATH, body)

    assert call.max_output_tokens is None
    assert route.wants_usage_event(call, raw)
    changed, _ = route.rewrite(call, raw, PATH, Changes(max_output_tokens=9), include_usage=True)

    assert json.loads(changed) == body | {
        "max_tokens": 9,
        "stream_options": {"include_usage": True},
    }
