"""Attacks by what an agent says of itself or names, and faults of our own that it may meet."""

from __future__ import annotations

import json
from collections import Counter
from http.client import HTTPResponse
from typing import Any

import pytest

from e2e import world as worlds
from e2e.tunnel import CHAT, ask, credentials, dial, records, request
from e2e.world import Proxy, World, statuses, wait
from tollkeeper.core.delegation import MOST_A_MINUTE, MOST_GENERATIONS

BROKEN = [
    "import tollkeeper.wire.route as m; m.parse = broken",
    "import tollkeeper.wire.route as m; m.recognise = broken",
    "import tollkeeper.wire.route as m; m.rewrite = broken",
    "import tollkeeper.proxy.doorkeeper as m; m.Doorkeeper.look_again = broken",
    "import tollkeeper.proxy.outgoing as m; m.Outgoing.undress = broken",
    "import tollkeeper.ledger.sqlite as m; m.SqliteLedger.admit = broken",
]


@pytest.mark.parametrize("where", BROKEN, ids=[one.rpartition(".")[2] for one in BROKEN])
def test_fault_of_ours_is_a_refusal_and_reaches_nobody(
    world: World, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    code = f"def broken(*_, **__): raise RuntimeError('a bug of ours')\n{where}"
    monkeypatch.setattr(worlds, "SERVE", f"exec({code!r});" + worlds.SERVE)
    world.agent()
    world.proxy()

    if "Doorkeeper" in where:  # not even a tunnel is opened
        with pytest.raises(AssertionError, match="503"):
            ask(world, request())
    else:
        said = ask(world, request())
        assert said.status == 503
        assert b"a bug of ours" not in said.body

    assert world.lab.calls() == []
    world.proxies[0].stop()
    assert records(world, "fault") or records(world, "turned_away")
    assert world.books() == {"spent": 0, "calls": world.books()["calls"], "open": 0}


BROKEN_BACK = [
    "import tollkeeper.proxy.answer as m; m.Answer.__init__ = broken",
    "import tollkeeper.proxy.answer as m; m.Answer.follow = broken",
    "import tollkeeper.proxy.answer as m; m.Answer.usage = property(broken)",
    "import tollkeeper.proxy.settling as m; m.settlement = broken",
    "import tollkeeper.ledger.sqlite as m; m.SqliteLedger.settle = broken",
]


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("where", BROKEN_BACK, ids=[one.split()[4] for one in BROKEN_BACK])
def test_fault_of_ours_on_the_way_back_books_the_call(
    world: World, monkeypatch: pytest.MonkeyPatch, where: str, stream: bool
) -> None:
    """Whole, where nothing else is known, and what cannot be followed is not handed on."""
    code = f"def broken(*_, **__): raise RuntimeError('a bug of ours')\n{where}"
    monkeypatch.setattr(worlds, "SERVE", f"exec({code!r});" + worlds.SERVE)
    world.agent()
    proxy = world.proxy()

    [answer] = world.calls(proxy, body=json.dumps(CHAT | {"stream": stream}), leave_after=5)

    assert b"a bug of ours" not in answer["body"]
    if "__init__" in where or ("follow" in where and stream):
        assert b"Hello" not in answer["body"]
    assert len(world.lab.calls()) == 1
    proxy.stop()
    monkeypatch.undo()
    second = world.proxy()  # takes in what the ledger did not get
    wait(lambda: world.books()["open"] == 0)
    ledger = world.ledger()
    [row] = ledger.rows("select cost_nano_usd, worst_nano_usd, basis from calls")
    ledger.close()
    assert 0 < row["cost_nano_usd"] <= row["worst_nano_usd"]
    assert records(world, "fault") or row["basis"] == "reserved"
    second.stop()


def test_labels_and_claims_of_an_agent_loosen_no_limit(world: World) -> None:
    world.policy({"agents": {"atlas": {"requests": {"run": 1}}}})
    world.agent()
    proxy = world.proxy()
    claims = [["Host", "api.openai.com"], ["x-tollkeeper-priority", "high"]]
    claims += [["x-tollkeeper-run", "other"], ["x-tollkeeper-budget-usd", "1000"]]

    seen = []
    for label in ("", "~fresh", "~another", "~third"):
        auth = f"atlas{label}:{world.tokens['atlas']}"
        seen += world.calls(proxy, auth=auth, headers=claims)

    assert statuses(seen)[200] == 1
    assert len(world.lab.calls()) == 1


STATEFUL: list[dict[str, Any]] = [
    {"previous_response_id": "resp_1"},
    {"conversation": "conv_1"},
    {"input": [{"role": "user", "content": [{"type": "input_file", "file_id": "file-1"}]}]},
    {"input": [{"role": "user", "content": [{"type": "input_file", "file_url": "https://a.example/b.pdf"}]}]},
    {"prompt": {"id": "pmpt_1"}},
]  # fmt: skip


@pytest.mark.parametrize("more", STATEFUL)
def test_input_that_the_provider_keeps_is_reserved_as_the_whole_window(
    world: World, more: dict[str, Any]
) -> None:
    world.policy({"agents": {"atlas": {"budget_usd": {"total": 1}}}})
    world.agent()
    world.proxy()
    body = {"model": "gpt-4o-mini", "input": "go on", "max_output_tokens": 20}

    plain = ask(world, request(body, path="/v1/responses"))
    kept = ask(world, request(body | more, path="/v1/responses"))

    assert (plain.status, kept.status) == (200, 200)
    ledger = world.ledger()
    worst = [row["worst_nano_usd"] for row in ledger.rows("select * from calls order by at_ns, id")]
    ledger.close()
    assert worst[1] >= 128_000 * 150  # gpt-4o-mini's window at its input rate
    assert worst[0] < worst[1] / 100


def test_own_key_of_an_agent_that_must_use_the_injected_one_stays_here(world: World) -> None:
    world.policy({"agents": {"atlas": {"key": "injected"}}})
    world.agent()
    world.proxy()

    said = ask(world, request(CHAT))

    assert said.status in (403, 503)
    assert world.lab.calls() == []
    assert world.books()["spent"] == 0


# ------------------------------------------------------------------ children


def delegate(
    world: World, proxy: Proxy, wish: dict[str, Any], agent: str = "atlas"
) -> tuple[int, dict[str, Any]]:
    """Ask the proxy for a child, in plain HTTP as a small client would; status and answer."""
    body = json.dumps(wish).encode()
    with dial(proxy) as opened:
        opened.sendall(
            b"POST http://tollkeeper.local/delegate HTTP/1.1\r\nHost: tollkeeper.local\r\n"
            + credentials(world, agent)
            + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(body)
            + body
        )
        answer = HTTPResponse(opened, method="POST")
        answer.begin()
        return answer.status, json.loads(answer.read())


def test_children_are_few_and_their_lineages_short(world: World) -> None:
    world.agent("a")
    proxy = world.proxy()
    parent = "a"
    for _ in range(MOST_GENERATIONS - 1):
        status, child = delegate(world, proxy, {"name": "k"}, parent)
        assert status == 201, child
        parent = child["agent"]
        world.tokens[parent] = child["token"]

    deeper = delegate(world, proxy, {"name": "k"}, parent)
    seen = Counter(delegate(world, proxy, {}, "a")[0] for _ in range(MOST_A_MINUTE))

    assert deeper[0] == 403
    assert f"at most {MOST_GENERATIONS} agents deep" in deeper[1]["error"]["message"]
    assert ask(world, request(), agent=parent).status == 200
    assert seen == {201: MOST_A_MINUTE - MOST_GENERATIONS + 1, 429: MOST_GENERATIONS - 1}
    proxy.stop()
    counted: Counter[str] = Counter()
    for one in records(world, "turned_away"):
        counted.update(one)
    assert counted["delegation rate_limited"] == MOST_GENERATIONS - 1
    assert len(records(world, "delegated")) == MOST_A_MINUTE


@pytest.mark.parametrize(
    "wish",
    [
        {"budget_usd": {"total": 1000}},
        {"rpm": 1000},
        {"models": ["gpt-4o-mini", "gpt-4o"]},
        {"scope": "full"},
        {"ttl": "24h"},
    ],
)
def test_no_wish_makes_a_child_freer_than_its_parent(world: World, wish: dict[str, Any]) -> None:
    limits = {"models": ["gpt-4o-mini"], "budget_usd": {"total": 0.0001}, "rpm": 1}
    world.policy({"agents": {"atlas": limits}})
    world.agent()
    proxy = world.proxy()
    status, child = delegate(world, proxy, wish)
    assert status == 201
    world.tokens["child"] = child["token"]
    name = child["agent"]
    world.tokens[name] = child["token"]

    other = ask(world, request(CHAT | {"model": "gpt-4o"}), agent=name)
    dear = ask(world, request(CHAT | {"max_tokens": 10_000}), agent=name)
    first = ask(world, request(), agent=name)
    second = ask(world, request(), agent="atlas")

    assert [one.status for one in (other, dear, first, second)] == [403, 402, 200, 429]
    assert len(world.lab.calls()) == 1
    assert len([one for one in records(world, "refused") if one.get("reasons")]) == 3
