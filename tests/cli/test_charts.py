from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tollkeeper_cli.charts import Series, bar, columns, ticks


@given(st.floats(1e-9, 1e15), st.booleans())
def test_ticks_reach_the_largest_and_are_few_and_even(largest: float, whole: bool) -> None:
    found = ticks(largest, whole=whole)

    assert found[0] == 0
    assert found[-1] >= largest * 0.99999
    assert 2 <= len(found) <= 6
    assert found[-2] < largest
    if whole and largest < 1e12:
        assert all(one == round(one) for one in found)


def test_nothing_still_has_an_axis() -> None:
    assert ticks(0) == [0.0, 1.0]


def drawing(made: str) -> ElementTree.Element:
    return ElementTree.fromstring(f"<div>{made}</div>")


def percent(text: str | None) -> float:
    assert text is not None
    return float(text.removesuffix("%"))


@given(st.lists(st.tuples(st.integers(0, 10**12), st.integers(0, 10**12)), min_size=1, max_size=40))
def test_columns_stay_inside_and_stand_for_their_values(pairs: list[tuple[int, int]]) -> None:
    series = [Series("a", [one for one, _ in pairs], 1), Series("b", [two for _, two in pairs], 2)]

    made = drawing(
        columns([str(n) for n in range(len(pairs))], series, str, title="t", described="d")
    )

    rects = list(made.iter("rect"))
    assert len(rects) == sum(bool(value) for pair in pairs for value in pair)
    for rect in rects:
        assert percent(rect.get("x")) + percent(rect.get("width")) <= 100.001
        assert 0 <= float(rect.get("y", "")) <= 200
        assert float(rect.get("y", "")) + float(rect.get("height", "")) <= 200.1


def test_a_chart_says_what_it_shows_to_those_who_do_not_see_it() -> None:
    made = columns(
        ["mon", "tue"], [Series("<o3>", [1, 0], 1)], str, title="Calls", described="Two days."
    )

    assert 'role="img" aria-label="Calls. Two days."' in made
    assert "<title>mon: &lt;o3&gt; 1</title>" in made
    assert "<script" not in made


@pytest.mark.parametrize(("columns_", "labels"), [(3, 3), (12, 5), (400, 5)])
def test_labels_have_room(columns_: int, labels: int) -> None:
    made = columns(
        [f"day {n}" for n in range(columns_)], [Series("a", [1] * columns_, 1)], str,
        title="t", described="d",
    )  # fmt: skip

    assert len(re.findall("day", made.split('class="x"')[1])) == labels


@given(st.lists(st.integers(0, 100), max_size=5), st.integers(0, 200))
def test_a_bar_is_never_longer_than_its_place(parts: list[int], whole: int) -> None:
    rects = drawing(bar([(part, n) for n, part in enumerate(parts)], whole)).iter("rect")

    assert sum(percent(rect.get("width")) for rect in rects) <= 100.01
