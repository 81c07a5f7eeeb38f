"""HTML and SVG that cannot be broken out of: whatever is no markup of ours is escaped on its way in."""

from __future__ import annotations

import html

from tollkeeper_cli.output import escape


class Markup(str):
    """Text that is markup already, because it was made here."""

    __slots__ = ()


type Part = Markup | str | int | float | None

_EMPTY = frozenset({"meta", "br", "rect", "line", "path"})


def text(part: Part) -> Markup:
    """A part as markup: ours as it is, everything else escaped, for HTML and for eyes."""
    if isinstance(part, Markup):
        return part
    return Markup("" if part is None else html.escape(escape(part), quote=True))


def join(*parts: Part) -> Markup:
    """Parts after each other."""
    return Markup("".join(map(text, parts)))


def tag(name: str, *parts: Part, **attributes: Part | bool) -> Markup:
    """An element. Attributes are named as in Python: ``class_``, ``aria_label``; None leaves one out.

    Args:
        name: Of the element; a constant of ours, as the attributes' names are.
    """
    written = "".join(
        f' {key.strip("_").replace("_", "-")}="{text(value)}"'
        for key, value in attributes.items()
        if value is not None and value is not False
    )
    if name in _EMPTY:
        return Markup(f"<{name}{written}/>" if name != "meta" else f"<{name}{written}>")
    return Markup(f"<{name}{written}>{join(*parts)}</{name}>")
