"""The page of a report as a person meets it: in a real browser, after calls that want to break it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from e2e import browser as browsers
from e2e.browser import Browser
from e2e.world import World
from tollkeeper_cli.main import main

pytestmark = pytest.mark.skipif(
    not (browsers.DRIVER and browsers.CHROMIUM),
    reason="needs chromium and chromedriver on the PATH",
)

HOSTILE = [
    "<script>document.title='broken'</script>", "</style><img src=x onerror=document.title='broken'>",
    '"><svg onload="document.title=1">', "\u202egnp.exe", "m" * 200,
]  # fmt: skip
PICTURES = os.environ.get("TOLLKEEPER_PICTURES")


def body(model: str) -> str:
    message = {"role": "user", "content": "hello"}
    return json.dumps({"model": model, "max_tokens": 10, "messages": [message]})


@pytest.fixture
def tab(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Browser]:
    """With the page of a report on calls for models with such names, and some good ones."""
    monkeypatch.setenv("TOLLKEEPER_HOME", str(world.home.root))
    world.agent()
    proxy = world.proxy()
    world.calls(proxy, 3)
    for model in HOSTILE:
        world.calls(proxy, body=body(model))
    target = tmp_path / "report.html"
    assert main(["report", "-o", str(target)]) == 0
    with browsers.browser(tmp_path) as one:
        one.open(target.as_uri())
        yield one


def look(tab: Browser, width: int, colours: str, media: str = "") -> None:
    """As on a screen of this width, by day or night."""
    features = [{"name": "prefers-color-scheme", "value": colours}]
    for command, params in (
        ("Emulation.setDeviceMetricsOverride",
         {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}),
        ("Emulation.setEmulatedMedia", {"media": media, "features": features}),
    ):  # fmt: skip
        asked: dict[str, Any] = {"cmd": command, "params": params}
        tab.ask("POST", "/goog/cdp/execute", asked)
    if PICTURES:
        tab.picture(Path(PICTURES) / f"report-{width}-{colours}{media}.png")


def test_hostile_names_are_read_and_never_run(tab: Browser) -> None:
    shown = tab.text()

    for name in HOSTILE[:3]:
        assert name in shown
    assert "\\u202egnp.exe" in shown
    assert tab.run("return document.title").startswith("Tollkeeper report")
    assert tab.run("return document.querySelectorAll('script,img,iframe,a').length") == 0


@pytest.mark.parametrize("width", [320, 390, 1280])
def test_nothing_sticks_out_of_any_screen(tab: Browser, width: int) -> None:
    for colours in ("light", "dark"):
        look(tab, width, colours)

        wide = tab.run("return [document.documentElement.scrollWidth, window.innerWidth]")
        assert wide[0] <= wide[1] == width


def test_day_night_and_paper_differ_and_paper_hides_nothing(tab: Browser) -> None:
    background = "return getComputedStyle(document.body).backgroundColor"
    hidden = (
        "return [...document.querySelectorAll('.scroll')]"
        ".filter(one => one.scrollHeight > one.clientHeight + 1).length"
    )
    seen = []
    for colours, media in (("light", ""), ("dark", ""), ("dark", "print")):
        look(tab, 800, colours, media)
        seen.append(tab.run(background))

    assert len(set(seen)) == 3
    assert seen[2] == "rgb(255, 255, 255)"
    assert tab.run(hidden) == 0


def test_tables_can_be_reached_with_the_keyboard_and_have_names(tab: Browser) -> None:
    names = tab.run(
        "return [...document.querySelectorAll('[tabindex=\"0\"]')].map(one => one.ariaLabel)"
    )

    assert "Spending by model" in names
    assert all(names)
    assert tab.run("return document.querySelectorAll('table:not(:has(caption))').length") == 0
