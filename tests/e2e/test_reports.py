"""What the books tell after real calls: the same as the accounts, and as the provider's own bill."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from e2e.test_delegation import delegate
from e2e.world import World, answers
from tollkeeper.domain import NANO_PER_USD, Account, Window
from tollkeeper_cli.main import main


def tell(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, Any]:
    """Exit code and JSON of a command."""
    capsys.readouterr()
    code = main([*words, "--json"])
    return code, json.loads(capsys.readouterr().out)


def bill(path: Path, usages: list[dict[str, int]]) -> str:
    """What OpenAI's costs API would answer for these calls of gpt-4o-mini, at its list price."""
    midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    results = [
        {
            "object": "organization.costs.result",
            "amount": {"value": tokens * price / NANO_PER_USD, "currency": "usd"},
            "line_item": f"gpt-4o-mini-2024-07-18, {side}",
        }
        for usage in usages
        for side, tokens, price in (
            ("input", usage["prompt_tokens"], 150), ("output", usage["completion_tokens"], 600),
        )
    ]  # fmt: skip
    start = int(midnight.timestamp())
    bucket = {
        "object": "bucket",
        "start_time": start,
        "end_time": start + 86400,
        "results": results,
    }
    path.write_text(json.dumps({"object": "page", "data": [bucket], "has_more": False}))
    return str(path)


def test_reports_agree_with_the_accounts_and_with_the_bill(
    world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TOLLKEEPER_HOME", str(world.home.root))
    world.agent(budget_nano_usd={Window.TOTAL: NANO_PER_USD})
    proxy = world.proxy()
    child = delegate(world, proxy, name="bee")
    seen = world.calls(proxy, 3) + answers(world.start_clients(proxy, 2, agent=child))
    usages = [json.loads(one["body"])["usage"] for one in seen]

    _, spent = tell(capsys, "budget", "spent", "--by", "agent")
    _, report = tell(capsys, "report")
    agreed, _ = tell(
        capsys, "reconcile", bill(world.folder / "bill.json", usages), "--tolerance", "0"
    )
    differs, found = tell(
        capsys,
        "reconcile",
        bill(world.folder / "more.json", [*usages, usages[0]]),
        "--tolerance",
        "0",
    )
    target = world.folder / "calls.jsonl"
    assert main(["export", "calls", "-o", str(target)]) == 0

    ledger = world.ledger()
    balance = ledger.balance(Account("agent:atlas", Window.TOTAL)).spent_nano_usd
    ledger.close()
    whole = Decimal(balance) / NANO_PER_USD
    by_agent = {row["agent"]: Decimal(row["with_children_usd"]) for row in spent["rows"]}
    exported = [json.loads(line) for line in target.read_text().splitlines()]
    assert world.books()["spent"] == balance
    assert Decimal(spent["total"]["cost_usd"]) == whole == by_agent["atlas"] > by_agent[child] > 0
    assert spent["total"]["measured_usd"] == spent["total"]["cost_usd"]
    assert report["total"] == spent["total"]
    assert sum(Decimal(row["cost_usd"]) for row in exported) == whole
    assert (agreed, differs) == (0, 1)
    assert [row["cause"] for row in found["rows"]] == ["unexplained"]
