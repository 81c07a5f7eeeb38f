"""mitmweb and the cockpit as a person meets them: in a real browser, before the real proxy."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e import browser as browsers
from e2e import world as worlds
from e2e.browser import Browser
from e2e.world import Proxy, World, statuses, wait
from tollkeeper.core.identity import new_operator_code

pytestmark = pytest.mark.skipif(
    not (browsers.DRIVER and browsers.CHROMIUM),
    reason="needs chromium and chromedriver on the PATH",
)

POLICY = {
    "agents": {"default": {"models": ["gpt-4o-mini", "gpt-4o"], "budget_usd": {"total": 5}}},
    "rules": [{"name": "dear", "call": {"model": "gpt-4o"}, "hold": {"lapses_after": "1h"}}],
}
PICTURES = os.environ.get("TOLLKEEPER_PICTURES")
"""A folder where pictures of what the tests see are kept, for whoever wants to look."""


@pytest.fixture
def proxy(world: World, monkeypatch: pytest.MonkeyPatch) -> Proxy:
    monkeypatch.setattr(worlds, "SERVE", worlds.SERVE.replace("port=0", "port=0, web=0"))
    world.policy(dict(POLICY))
    world.agent()
    return world.proxy()


@pytest.fixture
def web(world: World, proxy: Proxy) -> tuple[str, str]:
    url = wait(lambda: json.loads(world.home.process.read_text())["web"])
    base, _, token = url.partition("?")
    return base, token


@pytest.fixture
def tab(tmp_path: Path, web: tuple[str, str]) -> Iterator[Browser]:
    with browsers.browser(tmp_path) as one:
        one.open(f"{web[0]}?{web[1]}")
        yield one


def picture(tab: Browser, name: str) -> None:
    if PICTURES:
        tab.picture(Path(PICTURES) / f"{name}.png")


def code(world: World) -> str:
    return new_operator_code(world.home.read_operator_key(), os.urandom(3), time.time_ns())


def chat(model: str, text: str = "hello") -> str:
    return json.dumps(
        {"model": model, "max_tokens": 50, "messages": [{"role": "user", "content": text}]}
    )


def test_list_shows_at_a_glance_what_became_of_each_call(
    world: World, proxy: Proxy, tab: Browser
) -> None:
    tab.reads("Flow List")
    world.calls(proxy, body=chat("gpt-4o-mini"))
    world.calls(proxy, body=chat("o3"))
    held = world.start_clients(proxy, 1, body=chat("gpt-4o"))
    [approval] = world.waits_for_approval()

    shown = tab.reads(approval)

    picture(tab, "list")
    assert "atlas · gpt-4o-mini · allowed · $" in shown
    assert "atlas · o3 · refused · policy_denied (agents.default.models)" in shown
    assert "atlas · gpt-4o · held until " in shown
    world.verdict(approval, "rejected", "too dear")
    assert statuses(worlds.answers(held)) == {403: 1}
    shown = tab.reads("rejected by tester (cli)")
    assert "approval_rejected" in shown


def test_content_view_tells_the_decision_in_words(world: World, proxy: Proxy, tab: Browser) -> None:
    world.calls(proxy, body=chat("gpt-4o-mini", "<script>document.title = 'owned'</script>\u202e"))
    tab.reads("gpt-4o-mini")

    tab.click("td.col-path")
    shown = tab.reads("reserved, the worst case")

    picture(tab, "view")
    for line in ("effect: allowed", "agent: atlas", "basis: measured", "---"):
        assert line in shown
    assert tab.run("return document.title") != "owned"
    assert r"\u202e" in shown


def test_operator_answers_in_the_cockpit_with_a_code(
    world: World, proxy: Proxy, tab: Browser, web: tuple[str, str]
) -> None:
    world.calls(proxy, body=chat("o3"))
    held = world.start_clients(proxy, 1, body=chat("gpt-4o", "<b>pay</b> \u202eeur 5"))
    [approval] = world.waits_for_approval()
    tab.open(f"{web[0]}tollkeeper?{web[1]}")

    tab.reads(approval)
    picture(tab, "cockpit")
    tab.click("#holds button")
    shown = tab.reads("This is the whole body")
    assert r"<b>pay</b> \u202eeur 5" in shown
    assert "refused · policy_denied" in shown
    assert tab.run("return document.querySelector('#answer [name=answer]').disabled")
    tab.type("#code", "aaaa-bbbb-cccc")
    tab.click("#unlock button")
    tab.reads("wrong or too old")
    tab.type("#code", code(world).upper())
    tab.click("#unlock button")
    tab.reads("Answers count until")
    picture(tab, "question")
    tab.type("#note", "fine\ue007")
    assert world.lab.calls() == []
    tab.click("#answer [value=approved]")

    tab.reads("approved by")
    tab.reads("Nothing waits for you.")
    picture(tab, "answered")
    assert statuses(worlds.answers(held)) == {200: 1}
    [record] = [row for row in world.ledger().audit(limit=100) if row["kind"] == "verdict"]
    assert (record["data"]["origin"], record["data"]["note"]) == ("mitmweb", "fine")
    tab.click("#lock")
    tab.reads("Operator's code")


def test_command_bar_answers_with_a_code_and_remembers_none(
    world: World, proxy: Proxy, tab: Browser
) -> None:
    held = world.start_clients(proxy, 1, body=chat("gpt-4o"))
    [approval] = world.waits_for_approval()
    tab.run("[...document.querySelectorAll('nav a')].find(a => a.innerText === 'Options').click()")
    tab.reads("Display Command Bar")
    tab.run("[...document.querySelectorAll('label')].at(-1).click()")
    tab.reads("Command Result")

    typed = code(world)
    tab.type(".command input, .command-bar input, input[placeholder*='command']",
             f"tollkeeper.approve {approval} {typed} go on\ue007")  # fmt: skip

    tab.reads(f"{approval} approved: atlas, gpt-4o.")
    picture(tab, "command")
    assert statuses(worlds.answers(held)) == {200: 1}
    kept = world.home.ca / "command_history"
    assert not kept.exists() or typed not in kept.read_text()
