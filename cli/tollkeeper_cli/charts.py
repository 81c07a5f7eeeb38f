"""Charts for a page: small inline SVG, sharp at any width.

Places across are percentages and places down are pixels, so text keeps its size on a phone and nothing
has to be drawn anew. Labels stand outside of the drawing, as text of the page. A library for this would
bring a plotting engine (matplotlib, Altair), or one's own JavaScript (Plotly, Bokeh), for bars alone;
pygal's drawings scale their text away on a phone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from tollkeeper_cli.markup import Markup, join, tag

_HEIGHT: Final = 200
_TICKS: Final = 4
_MOST_LABELS: Final = 5
_WIDE: Final = 12
"""Up to so many columns have room for a label below their middle, at the ends too."""
_SLOTS: Final = 6
"""A column alone is no wall: it takes the room of one among so many."""
_NARROWEST_AXIS: Final = 48
_CHARACTER: Final = 7
"""Pixels that a character of the axis takes at most."""
_FILL: Final = 0.8
"""Of its share of the width, what a column takes."""

SERIES: Final = 6
"""How many colours there are; the last is for all others."""


@dataclass(frozen=True, slots=True)
class Series:
    """One colour of a chart: a name and a value for each column."""

    name: str
    values: Sequence[float]
    colour: int


def ticks(largest: float, *, whole: bool = False) -> list[float]:
    """Round values from 0 up to the first at or above the largest.

    Args:
        whole: Whether the values are counts, of which there are no parts.
    """
    if largest <= 0:
        return [0.0, 1.0]
    raw = max(largest / _TICKS, 1.0 if whole else 0.0)
    power = 1.0
    while power > raw:
        power /= 10
    while power * 10 <= raw:
        power *= 10
    rounds = (1, 2, 5, 10) if whole else (1, 2, 2.5, 5, 10)
    step = next(power * times for times in rounds if power * times >= raw * 0.999)
    count = 1
    while step * count < largest * 0.999999:
        count += 1
    return [step * number for number in range(count + 1)]


def columns(
    labels: Sequence[str],
    series: Sequence[Series],
    show: Callable[[float], str],
    *,
    title: str,
    described: str,
    whole: bool = False,
) -> Markup:
    """Stacked columns with their axes and, of more than one series, a legend.

    Args:
        labels: Under the columns; the middle ones are left out where there are many.
        show: Writes a value.
        title: What a screen reader calls the drawing.
        described: What it shows, in a sentence.
        whole: Whether the values are counts.
    """
    sums = [sum(one.values[n] for one in series) for n in range(len(labels))]
    marks = ticks(max(sums, default=0), whole=whole)
    top = marks[-1]
    grid = [
        tag("line", x1="0", x2="100%", y1=_down(mark, top), y2=_down(mark, top), class_="grid")
        for mark in marks
    ]
    share = 100 / max(_SLOTS, len(labels))
    drawn = []
    for place, label in enumerate(labels):
        if not sums[place]:
            continue
        told = "; ".join(
            f"{one.name} {show(one.values[place])}" for one in series if one.values[place]
        )
        parts: list[Markup] = []
        below = 0.0
        for one in series:
            value = one.values[place]
            if value:
                y, low = _down(below + value, top), _down(below, top)
                parts.append(
                    tag("rect", x=_percent(place * share + share * (1 - _FILL) / 2), y=y,
                        width=_percent(share * _FILL), height=max(round(low - y, 1), 0.5),
                        class_=f"c{one.colour}")
                )  # fmt: skip
            below += value
        drawn.append(tag("g", tag("title", f"{label}: {told}"), *parts))
    svg = tag(
        "svg", *grid, *drawn, role="img", aria_label=f"{title}. {described}", width="100%",
        height=_HEIGHT, class_="columns",
    )  # fmt: skip
    return join(
        _legend(series),
        tag(
            "div",
            _axis(marks, show),
            tag("div", svg, tag("div", *_labels(labels, share), class_="x", aria_hidden="true")),
            class_="plot",
        ),
    )


def bar(parts: Sequence[tuple[float, int | str]], whole: float) -> Markup:
    """A horizontal bar of some parts, beside the figures in a table that say the same.

    Args:
        parts: Length and colour of each; colours are numbers of a series, or a name of the style's.
    """
    drawn, at = [], 0.0
    for length, colour in parts:
        wide = 100 * length / whole if whole > 0 else 0
        wide = min(wide, 100 - at)
        if wide > 0:
            drawn.append(
                tag("rect", x=_percent(at), y="0", width=_percent(wide), height="100%",
                    class_=f"c{colour}")
            )  # fmt: skip
        at += wide
    return tag("svg", *drawn, class_="bar", aria_hidden="true", width="100%", height="12")


def _legend(series: Sequence[Series]) -> Markup:
    if len(series) < 2:
        return Markup("")
    items = (
        tag("li", tag("span", class_=f"key k{one.colour}", aria_hidden="true"), one.name)
        for one in series
    )
    return tag("ul", *items, class_="legend")


def _axis(marks: Sequence[float], show: Callable[[float], str]) -> Markup:
    """Values beside the lines, with room for the longest."""
    texts = [show(mark) for mark in marks]
    spans = (
        tag("span", text, style=f"top:{_down(mark, marks[-1])}px")
        for text, mark in zip(texts, marks, strict=True)
    )
    wide = max(_NARROWEST_AXIS, _CHARACTER * max(map(len, texts)) + 10)
    return tag("div", *spans, class_="y", aria_hidden="true", style=f"width:{wide}px")


def _labels(labels: Sequence[str], share: float) -> list[Markup]:
    """As many as have room, the first and the last among them."""
    last = len(labels) - 1
    count = min(len(labels), _MOST_LABELS)
    places = {round(n * last / max(1, count - 1)) for n in range(count)}
    made = []
    for place in sorted(places):
        end = {0: "first", last: "last"}.get(place) if last > _WIDE else None
        middle = share * (place + 0.5)
        made.append(tag("span", labels[place], style=f"left:{_percent(middle)}", class_=end))
    return made


def _down(value: float, top: float) -> float:
    """Pixels from above; a little room stays for the topmost line."""
    return round(1 + (_HEIGHT - 2) * (1 - value / top), 1)


def _percent(value: float) -> str:
    return f"{value:.3f}".rstrip("0").rstrip(".") + "%"
