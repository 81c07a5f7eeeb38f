"""Requests and answers in the documented shapes, with what they must be read as."""

from __future__ import annotations

import json
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from tollkeeper import facts
from tollkeeper.domain import Call, Usage
from tollkeeper.wire import route
from tollkeeper.wire.dialect import Inbound
from wire.calling import tool_calls

SAMPLES = Path(__file__).parent / "samples"
CONTENT_TYPES = {
    ".answer.json": "application/json; charset=utf-8",
    ".stream.sse": "text/event-stream; charset=utf-8",
    ".stream.json": "application/json; charset=UTF-8",
    ".stream.ndjson": "application/x-ndjson",
    ".answer.bin": "application/octet-stream",
    ".stream.bin": "application/vnd.amazon.eventstream",
}
REQUESTS = (".request.json", ".request.form")


def cases() -> list[Any]:
    return [
        pytest.param(index.parent, case, id=f"{index.parent.name}-{case['name']}")
        for index in sorted(SAMPLES.glob("*/source.yaml"))
        for case in yaml.safe_load(index.read_text())
    ]


def call_of(folder: Path, case: dict[str, Any]) -> Call:
    provider = facts.providers()[case["provider"]]
    endpoint = route.recognise(provider, "POST", case["path"])
    assert endpoint is not None
    paths = (folder / (case["name"] + suffix) for suffix in REQUESTS)
    body = next(path for path in paths if path.exists()).read_bytes()
    headers = {"content-type": case.get("content_type", "application/json")}
    return route.parse(Inbound(provider, "POST", case["path"], "", headers, body), endpoint)


def answer_of(folder: Path, case: dict[str, Any]) -> tuple[bytes, str]:
    for suffix, content_type in CONTENT_TYPES.items():
        path = folder / (case["name"] + suffix)
        if path.exists():
            return path.read_bytes(), case.get("answer_type", content_type)
    raise AssertionError(case["name"])


def told(case: dict[str, Any]) -> dict[str, str]:
    """The answer's headers that say what was used."""
    headers: dict[str, str] = case.get("answer_headers", {})
    return headers


def usage_of(case: dict[str, Any]) -> Usage | None:
    """The usage that a case expects; YAML has no tuples."""
    if case["usage"] is None:
        return None
    uses = tuple((tool, count) for tool, count in case["usage"].get("server_tools", ()))
    return Usage(**case["usage"] | {"server_tools": uses})


def chunks_of(data: bytes, cuts: list[int]) -> list[bytes]:
    borders = sorted({min(cut, len(data)) for cut in cuts} | {0, len(data)})
    return [data[a:b] for a, b in pairwise(borders)]


def test_every_sample_file_has_a_case_with_its_source() -> None:
    for folder in sorted(p for p in SAMPLES.iterdir() if p.is_dir()):
        listed = yaml.safe_load((folder / "source.yaml").read_text())
        names = {case["name"] for case in listed}
        assert {path.name.split(".")[0] for path in folder.glob("*.request.*")} == names
        assert all(str(case["source"]).startswith("https://") and case["date"] for case in listed)


@pytest.mark.parametrize(("folder", "case"), cases())
def test_a_request_is_read_as_the_call_it_makes(folder: Path, case: dict[str, Any]) -> None:
    call = call_of(folder, case)

    said = asdict(call)
    for key, value in case["call"].items():
        expected = (
            frozenset(value)
            if key == "features"
            else tuple(value)
            if isinstance(value, list)
            else value
        )
        assert said[key] == expected, key
    assert call.unknown_parameters == ()
    assert call.metered
    if "most" in case:
        assert call.most == Usage(**case["most"])


@pytest.mark.parametrize(("folder", "case"), cases())
def test_a_case_names_its_model_its_tools_and_its_usage(folder: Path, case: dict[str, Any]) -> None:
    call, expected = call_of(folder, case), case["call"]

    assert call.model == expected["model"]
    assert call.tools_offered == tuple(expected.get("tools_offered", ()))
    assert call.server_tools == tuple(expected.get("server_tools", ()))
    assert "usage" in case


@pytest.mark.parametrize(("folder", "case"), cases())
def test_an_answer_calls_the_tools_that_its_case_names_and_none_that_were_not_offered(
    folder: Path, case: dict[str, Any]
) -> None:
    data, content_type = answer_of(folder, case)
    called = tool_calls(data, content_type)

    assert [list(call) for call in called] == case.get("tool_calls", [])
    assert {name for name, _ in called} <= set(call_of(folder, case).tools_offered)


@pytest.mark.parametrize(
    ("folder", "case"), [case for case in cases() if "tool_calls" in case.values[1]]
)
def test_what_a_tool_is_called_with_is_within_the_bound_of_what_was_seen(
    folder: Path, case: dict[str, Any]
) -> None:
    call = call_of(folder, case)
    data, content_type = answer_of(folder, case)
    meter = route.meter(call, content_type, take_out_usage=False)
    meter.feed(data)
    written = sum(len(json.dumps(given).split()) for _, given in case["tool_calls"])

    assert meter.seen_output_tokens_bound >= written
    assert meter.seen_output_tokens_least <= case["usage"]["output_tokens"]


@pytest.mark.parametrize(("folder", "case"), cases())
def test_an_answers_usage_is_read_whole(folder: Path, case: dict[str, Any]) -> None:
    data, content_type = answer_of(folder, case)
    meter = route.meter(
        call_of(folder, case), content_type, take_out_usage=False, headers=told(case)
    )

    passed = meter.feed(data) + meter.finish()

    assert passed == data
    assert meter.usage == usage_of(case)
    assert meter.done is case.get("done", True)


@pytest.mark.parametrize("take_out", [False, True])
@pytest.mark.parametrize(("folder", "case"), cases())
def test_any_chunking_gives_the_same_usage_and_the_same_bytes(
    folder: Path, case: dict[str, Any], take_out: bool
) -> None:
    data, content_type = answer_of(folder, case)
    call = call_of(folder, case)
    whole = route.meter(call, content_type, take_out_usage=take_out, headers=told(case))
    expected = whole.feed(data) + whole.finish()

    @settings(max_examples=25, deadline=None)
    @given(st.lists(st.integers(0, len(data)), max_size=20))
    def check(cuts: list[int]) -> None:
        meter = route.meter(call, content_type, take_out_usage=take_out, headers=told(case))
        passed = []
        for chunk in chunks_of(data, cuts):
            went_on = meter.feed(chunk)
            assert take_out or went_on is chunk
            passed.append(went_on)
        passed.append(meter.finish())

        assert b"".join(passed) == expected
        assert meter.usage == whole.usage
        assert meter.done is whole.done
        assert meter.seen_output_tokens_bound == whole.seen_output_tokens_bound

    check()


@pytest.mark.parametrize(("folder", "case"), cases())
def test_one_byte_at_a_time_gives_the_same_usage(folder: Path, case: dict[str, Any]) -> None:
    data, content_type = answer_of(folder, case)
    meter = route.meter(
        call_of(folder, case), content_type, take_out_usage=False, headers=told(case)
    )

    for i in range(len(data)):
        meter.feed(data[i : i + 1])
    meter.finish()

    assert meter.usage == usage_of(case)
