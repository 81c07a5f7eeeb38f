from __future__ import annotations

import pytest

from tollkeeper.policy.problems import Report, suggestion
from tollkeeper.policy.tree import Place


@pytest.mark.parametrize(
    ("wrong", "known", "expected"),
    [
        ("modle", ["model", "tier"], "; did you mean 'model'?"),
        ("OPENAI", ["openai"], "; did you mean 'openai'?"),
        ("zzz", ["a", "b"], "; known are a, b"),
        ("zzz", [], ""),
        ("zzz", [f"name{n}" for n in range(31)], ""),
    ],
)
def test_suggestion_names_what_is_close_or_what_is_known(
    wrong: str, known: list[str], expected: str
) -> None:
    assert suggestion(wrong, known) == expected


def test_problems_are_in_file_order_and_told_once() -> None:
    report = Report()
    report.error(Place(1, 1, 1, "b.yaml"), "third")
    report.error(Place(0, 9, 1, "a.yaml"), "second")
    report.warn(Place(0, 1, 1, "a.yaml"), "doubtful")
    report.error(Place(0, 2, 5, "a.yaml"), "first")
    report.error(Place(0, 2, 5, "a.yaml"), "first")

    assert [one.message for one in report.problems(warnings=False)] == ["first", "second", "third"]
    assert [one.message for one in report.problems(warnings=True)] == ["doubtful"]


def test_report_of_warnings_alone_is_no_failure() -> None:
    report = Report()
    report.warn(Place(0, 1, 1, "a.yaml"), "doubtful")

    assert not report


def test_message_with_a_secret_or_an_escape_sequence_is_cleaned() -> None:
    report = Report()
    report.error(Place(0, 1, 1, "a.yaml"), "unknown team 'sk-proj-abcdefghijklmnopqrst\x1b[2J'")

    [problem] = report.problems(warnings=False)

    assert problem.message == "unknown team '(a secret)\ufffd[2J'"
