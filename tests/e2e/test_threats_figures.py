"""Attacks on whoever counts: made-up labels on the figures, formulas in the exports, children that grow."""

from __future__ import annotations

import csv
import io
import json
import re
import urllib.request
from typing import Any

import pytest

from e2e.test_threats_agents import delegate
from e2e.test_threats_people import tollkeeper
from e2e.tunnel import CHAT, Tunnel, ask, request
from e2e.world import Proxy, World, wait

INJECTION = 'x"} 1\ntollkeeper_owned{a="'
FORMULAS = [
    "=cmd|' /C calc'!A0",
    "+1+cmd|' /C calc'!A0",
    "-2+3",
    "@SUM(1+1)",
    "\t=1+1",
    "\r=1+1",
    " =1+1",
    "＝1+1",
    "a;=1+1",
    '"=1+1',
    "a\n=1+1",
    "=1+1,=2+2",
]
SERIES = re.compile(r'[a-z_]+(\{[a-z_]+="[A-Za-z0-9_.-]*"(,[a-z_]+="[A-Za-z0-9_.-]*")*\})? [0-9.]+')


def chat(model: str) -> dict[str, Any]:
    return CHAT | {"model": model}


# ------------------------------------------------------------------ labels


def figures(world: World) -> list[str]:
    """The lines of `/metrics` as Prometheus is told them."""
    address = json.loads(world.home.process.read_text())["operator"]
    asked = urllib.request.Request(
        f"http://{address}/metrics",
        headers={"Authorization": f"Bearer {world.home.metrics_token.read_text().strip()}"},
    )
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(asked, timeout=20) as answer:
        return [one for one in answer.read().decode().splitlines() if not one.startswith("#")]


def series(lines: list[str]) -> set[str]:
    return {line.rpartition(" ")[0] for line in lines}


def make_up_names(world: World, proxy: Proxy, word: str) -> None:
    """A call of each kind under names that nobody gave: models, runs, claims, a child."""
    for stream in (False, True):
        ask(world, request(chat(word) | {"stream": stream}))
    path = f"/v1beta/models/{re.sub('[^a-z0-9]', '-', word)}:generateContent"
    google = "generativelanguage.googleapis.com"
    ask(world, request({"contents": [{"parts": [{"text": "x"}]}]}, host=google, path=path), google)
    ask(world, request(path="/v1/" + re.sub("[^a-z0-9]", "-", word)))
    said = [("X-Tollkeeper-Step", word), ("X-Tollkeeper-Priority", word)]
    safe = [(name, re.sub("[^ -~]", "", value)) for name, value in said]
    ask(world, request(fields=safe))
    world.tokens[f"atlas~{word}"] = world.tokens["atlas"]
    ask(world, request(), agent=f"atlas~{word}")
    name = "kid-" + re.sub("[^a-z0-9]", "-", word)[:20]
    status, child = delegate(world, proxy, {"name": name})
    if status == 201:
        world.tokens[child["agent"]] = child["token"]
        ask(world, request(), agent=child["agent"])


@pytest.mark.parametrize("listed", [True, False], ids=["models are listed", "any model"])
def test_names_that_an_agent_makes_up_are_no_series_and_no_text_of_the_figures(
    world: World, listed: bool
) -> None:
    limits: dict[str, Any] = {"models": ["gpt-4o-mini"]} if listed else {}
    world.policy({"agents": {"atlas": limits}})
    world.agent()
    proxy = world.proxy("operator=Address('127.0.0.1', 0)")
    wait(lambda: json.loads(world.home.process.read_text()).get("operator"))
    make_up_names(world, proxy, "first")
    before = series(figures(world))

    for word in [*(f"made-up-{number}" for number in range(5)), INJECTION, *FORMULAS]:
        make_up_names(world, proxy, word)

    lines = figures(world)
    assert series(lines) == before
    assert [line for line in lines if not SERIES.fullmatch(line)] == []
    page = "\n".join(lines)
    assert "owned" not in page
    assert "made" not in page
    assert world.books()["open"] == 0


# ------------------------------------------------------------------ formulas


def cells(done: bytes) -> list[str]:
    """All cells of a CSV, and what a spreadsheet makes of its lines that splits at semicolons."""
    text = done.decode()
    found = [cell for row in csv.reader(io.StringIO(text)) for cell in row]
    return found + [part for cell in found for part in cell.split(";")[1:]]


def is_formula(cell: str) -> bool:
    if re.fullmatch(r"-?[0-9.]+", cell):
        return False
    return cell.lstrip(" \"'\t\r\n")[:1] in tuple("=+-@＝＋－＠") and not cell.startswith("'")


def test_no_text_of_an_agent_is_a_formula_in_an_export(world: World) -> None:
    world.policy({"rules": [{"name": "ask", "call": {"model": "@*"}, "hold": {}}], "examples": []})
    world.agent()
    proxy = world.proxy()
    for text in FORMULAS:
        if text.startswith("@"):
            continue
        ask(world, request(chat(text)))
        world.tokens[f"atlas~{text}"] = world.tokens["atlas"]
        ask(world, request(CHAT | {"user": text}), agent=f"atlas~{text}")
    with Tunnel(world, proxy) as tunnel:
        tunnel.send(request(chat("@SUM(1+1)")))
        [approval] = world.waits_for_approval()
        tollkeeper(world, "reject", approval, "--note", "=1+1")
        assert tunnel.hear().status == 403
    wait(lambda: world.books()["open"] == 0)

    for what in ("calls", "transfers"):
        done = tollkeeper(world, "export", what, "--format", "csv")
        assert done.returncode == 0, done.stderr
        assert [cell for cell in cells(done.stdout) if is_formula(cell)] == []
    assert b"'=cmd|" in tollkeeper(world, "export", "--format", "csv").stdout
    audit = tollkeeper(world, "audit", "export", "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(audit.stdout.decode())))
    assert not [row for row in rows if any(is_formula(cell) for cell in row.values())]
    assert tollkeeper(world, "audit", "verify").returncode == 0
