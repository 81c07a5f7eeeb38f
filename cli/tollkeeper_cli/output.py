"""What the command line writes: tables, JSON and lines, escaped for a terminal in one place.

A row is a dict of raw values whose names end in their unit, as everywhere in the house. JSON shows
``…_nano_usd`` as ``…_usd`` (exact decimal text) and ``…_ns`` as ``…_at`` (ISO-8601); tables show
dollars and local time.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TextIO

from tollkeeper.core.eyes import escape as escape  # what a terminal is shown goes through it
from tollkeeper_cli.units import clock, iso, usd

_MONEY: Final = "_nano_usd"
_NARROWEST: Final = 12
_NARROWEST_FIRST: Final = 40
_WHOLE: Final = frozenset({"id", "hour", "day", "month"})
_GAP: Final = "  "

type Row = Mapping[str, Any]


# ------------------------------------------------------------------------------------- json


def plain(value: Any) -> Any:
    """A raw value as JSON: units of the names turned into those that people read."""
    if isinstance(value, Mapping):
        return dict(_plain_item(str(key), item) for key, item in value.items())
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(item) for item in value]
    return value


def _plain_item(key: str, value: Any) -> tuple[str, Any]:
    if key.endswith(_MONEY):
        new_key = key.removesuffix(_MONEY) + "_usd"
        if isinstance(value, Mapping):
            return new_key, {str(k): None if v is None else usd(v) for k, v in value.items()}
        return new_key, usd(value) if isinstance(value, int) else plain(value)
    if key.endswith("_ns"):
        stem = key.removesuffix("_ns")
        return stem if stem == "at" else f"{stem}_at", None if value is None else iso(value)
    return key, plain(value)


def as_json(value: Any, *, indent: int | None = 2) -> str:
    """JSON text that holds no character a terminal would obey."""
    text = json.dumps(plain(value), indent=indent, ensure_ascii=True)
    return text.replace("\x7f", "\\u007f")


def print_json(value: Any) -> None:
    """One JSON document on standard output."""
    print(as_json(value))


def print_json_line(value: Any) -> None:
    """One line of JSON, for streams of records."""
    print(as_json(value, indent=None))


# ------------------------------------------------------------------------------------ tables


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table.

    Attributes:
        key: Of the row's value; its unit says how it is shown.
        title: Over the column.
        right: Aligned to the right; money and integers are anyway.
        spare: Of a table that is too wide, the columns with the highest number go first; 0 stays.
    """

    key: str
    title: str
    right: bool = False
    spare: int = 0


def print_rows(
    rows: Sequence[Row], columns: Sequence[Column], *, json_: bool, empty: str = "Nothing yet."
) -> None:
    """Rows as a table, or as a JSON array of all that they hold.

    Args:
        empty: Said on standard error instead of a table without rows.
    """
    if json_:
        print_json(list(rows))
        return
    if not rows:
        say(empty)
        return
    width = _width()
    shown = fitting(rows, columns, width)
    print("\n".join(table(rows, shown, width=width, bold=colours(sys.stdout))))
    left_out = [one.title for one in columns if one not in shown and not _is_empty(rows, one)]
    if left_out:
        say(f"A wider window shows too: {', '.join(left_out)}.")


def fitting(rows: Sequence[Row], columns: Sequence[Column], width: int | None) -> list[Column]:
    """The columns that a table of this width has room for.

    Those without any value go first, then spare ones.
    """
    shown = list(columns)
    if width is None:
        return shown
    sizes = {one.key: _size(one.title, _cells(rows, one)) for one in columns}
    spare = sorted((one for one in columns if one.spare), key=lambda one: -one.spare)
    for column in [*(one for one in columns if _is_empty(rows, one)), *spare]:
        if sum(sizes[one.key] for one in shown) + len(_GAP) * (len(shown) - 1) <= width:
            break
        if column in shown:
            shown.remove(column)
    return shown


def table(
    rows: Sequence[Row], columns: Sequence[Column], *, width: int | None = None, bold: bool = False
) -> list[str]:
    """Lines of an aligned table; with a width, the widest texts are cut with ``…`` to fit.

    Ids, figures and moments are never cut, and the first column only where it is wider than any id.
    """
    cells = [_cells(rows, column) for column in columns]
    titles = [column.title for column in columns]
    rights = [column.right or _is_number(rows, column.key) for column in columns]
    widths = [_size(title, texts) for title, texts in zip(titles, cells, strict=True)]
    if width is not None:
        least = [
            size if right or column.key in _WHOLE or column.key.endswith("_ns") else _NARROWEST
            for column, right, size in zip(columns, rights, widths, strict=True)
        ]
        widths = _shrunk(widths, [max(least[0], _NARROWEST_FIRST), *least[1:]], width)
    lines = []
    for number, texts in enumerate([titles, *zip(*cells, strict=True)]):
        padded = [
            _padded(text, size, right)
            for text, size, right in zip(texts, widths, rights, strict=True)
        ]
        line = _GAP.join(padded).rstrip()
        lines.append(f"\x1b[1m{line}\x1b[0m" if bold and number == 0 else line)
    return lines


def _size(title: str, texts: Sequence[str]) -> int:
    from rich.cells import cell_len

    return max(map(cell_len, [title, *texts]))


def _is_empty(rows: Sequence[Row], column: Column) -> bool:
    return all(row.get(column.key) in (None, "", [], (), {}) for row in rows)


def print_facts(facts: Row, *, json_: bool) -> None:
    """One thing: its facts under each other, or a JSON object."""
    if json_:
        print_json(facts)
        return
    print("\n".join(fact_lines(facts)))


def fact_lines(facts: Row) -> list[str]:
    """Aligned lines, one a fact; what is empty is left out."""
    shown = [(key, value) for key, value in facts.items() if value not in (None, "", [], (), {})]
    labels = [_label(key) for key, _ in shown]
    size = max(map(len, labels), default=0)
    return [
        f"{label:<{size}}  {_shown(key, value)}"
        for label, (key, value) in zip(labels, shown, strict=True)
    ]


def _label(key: str) -> str:
    return key.removesuffix(_MONEY).removesuffix("_usd").removesuffix("_ns").replace("_", " ")


def _cells(rows: Sequence[Row], column: Column) -> list[str]:
    values = [row.get(column.key) for row in rows]
    if column.key.endswith(_MONEY):
        return amounts(values)
    return [_shown(column.key, value) for value in values]


def amounts(values: Sequence[int | None]) -> list[str]:
    """Exact, with the same number of decimals, so that the points stand under each other."""
    texts = [None if value is None else usd(value) for value in values]
    decimals = max((len(text.partition(".")[2]) for text in texts if text), default=2)
    shown = []
    for text in texts:
        if text is None:
            shown.append("-")
        else:
            whole, _, rest = text.removeprefix("-").partition(".")
            shown.append(f"{'-' if text[0] == '-' else ''}${whole}.{rest.ljust(decimals, '0')}")
    return shown


def _shown(key: str, value: Any) -> str:
    if value is None or value == "":
        return "-"
    if key.endswith(_MONEY) and isinstance(value, int):
        return f"${usd(value)}"
    if key.endswith("_ns") and isinstance(value, int):
        return clock(value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (list, tuple)):
        return ", ".join(escape(item) for item in value) or "-"
    if isinstance(value, Mapping):
        return ", ".join(f"{escape(k)}={escape(v)}" for k, v in value.items()) or "-"
    return escape(value)


def _is_number(rows: Sequence[Row], key: str) -> bool:
    if key.endswith("_ns"):
        return False
    values = [row.get(key) for row in rows if row.get(key) is not None]
    return bool(values) and all(isinstance(v, int) and not isinstance(v, bool) for v in values)


def _shrunk(widths: list[int], least: list[int], width: int) -> list[int]:
    sizes = list(widths)
    while sum(sizes) + len(_GAP) * (len(sizes) - 1) > width:
        wide = [number for number, size in enumerate(sizes) if size > least[number]]
        if not wide:
            break
        sizes[max(wide, key=lambda number: sizes[number])] -= 1
    return sizes


def _padded(text: str, size: int, right: bool) -> str:
    from rich.cells import cell_len, set_cell_size

    if cell_len(text) > size:
        return set_cell_size(text, size - 1) + "…"
    fill = " " * (size - cell_len(text))
    return fill + text if right else text + fill


# ------------------------------------------------------------------------------------- lines


def say(text: str) -> None:
    """A line for the person, on standard error, so that standard output stays data."""
    print(text, file=sys.stderr)


def colours(stream: TextIO) -> bool:
    """Whether this stream is a terminal that wants them (https://no-color.org)."""
    return stream.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"


def paint(text: str, code: str, stream: TextIO | None = None) -> str:
    """The text in an SGR colour, where the stream shows colours."""
    return f"\x1b[{code}m{text}\x1b[0m" if colours(stream or sys.stdout) else text


def _width() -> int | None:
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None
