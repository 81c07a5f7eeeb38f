from __future__ import annotations

from html.parser import HTMLParser

from hypothesis import given
from hypothesis import strategies as st

from tollkeeper_cli.markup import Markup, join, tag, text


class Seen(HTMLParser):
    """Elements and attributes as a browser reads them."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.shown = ""

    def handle_starttag(self, name: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(name)
        self.attributes += attributes

    def handle_data(self, data: str) -> None:
        self.shown += data


@given(st.text(), st.text())
def test_no_text_becomes_an_element_or_an_attribute(one: str, other: str) -> None:
    seen = Seen()
    seen.feed(tag("td", one, tag("b", other), title=other, class_=one))
    seen.close()

    assert seen.tags == ["td", "b"]
    assert [name for name, _ in seen.attributes] == ["title", "class"]


def test_markup_of_ours_stays_and_everything_else_is_escaped() -> None:
    made = tag("p", tag("b", "<i>"), '"&', 7, None, Markup("<br/>"))

    assert made == "<p><b>&lt;i&gt;</b>&quot;&amp;7<br/></p>"
    assert join("<", made[:3], tag("hr")) == "&lt;&lt;p&gt;<hr></hr>"


def test_what_hides_or_reorders_text_is_written_out() -> None:
    assert text("\u202eexe.\x1b[2J") == "\\u202eexe.\\x1b[2J"


def test_attributes_without_a_value_are_left_out() -> None:
    assert tag("th", "x", class_=None, scope="row") == '<th scope="row">x</th>'
    assert tag("rect", x="1%") == '<rect x="1%"/>'
