"""The proxy process: what it needs to start, what it says, and mitmweb beside it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from e2e import world as worlds
from e2e.world import World, statuses, wait
from proxy.web import HOLD_ALL, Web
from tollkeeper.errors import LedgerError, PolicyError, UsageError
from tollkeeper.home import Home
from tollkeeper.proxy.serve import serve, station_for

HOURGLASS, NO_ENTRY = "\N{HOURGLASS}", "\N{NO ENTRY SIGN}"
"""What mitmweb shows for the markers that we set."""

# ------------------------------------------------------------------ starting


def test_no_state_folder_no_policy_and_a_broken_policy_start_no_proxy(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    with pytest.raises(UsageError, match="policy"):
        serve(home, port=0)
    home.root.mkdir(exist_ok=True)
    (home.root / "policy.yaml").write_text("version: 1\n")
    with pytest.raises(UsageError, match="init"):
        serve(home, port=0)
    home.make()
    (home.root / "policy.yaml").write_text("version: 1\nnonsense: 1\n")
    with pytest.raises(PolicyError, match="nonsense"):
        serve(home, port=0)


def test_ledger_that_is_none_starts_no_proxy(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    home.make()
    (home.root / "policy.yaml").write_text("version: 1\n")
    home.database.write_bytes(b"no database at all" * 100)

    with pytest.raises(LedgerError, match="damaged"):
        station_for(home, None)


def test_stopped_proxy_ends_well_and_removes_its_process_file(world: World) -> None:
    world.agent()
    proxy = world.proxy()
    assert json.loads(world.home.process.read_text())["port"] == proxy.port

    proxy.stop()

    assert proxy.process.returncode == 0
    assert not world.home.process.exists()
    kinds = [row["kind"] for row in world.ledger().audit(limit=100)]
    assert "policy_loaded" in kinds


def test_proxy_whose_port_is_taken_says_so_and_ends(world: World) -> None:
    world.agent()
    proxy = world.proxy()
    code = worlds.SERVE.replace("port=0", f"port={proxy.port}")

    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"TOLLKEEPER_HOME": str(world.home.root)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode != 0
    assert "address already in use" in done.stderr
    assert world.calls(proxy)[0]["status"] == 200


def test_proxy_starts_while_another_process_writes_without_pause(world: World) -> None:
    world.agent()
    first = world.proxy()
    clients = world.start_clients(first, 100)

    second = world.proxy()

    assert world.calls(second)[0]["status"] == 200
    worlds.answers(clients)


# ------------------------------------------------------------------ mitmweb


def test_call_beside_mitmweb_is_governed_and_shown_with_its_decision(
    world: World, web: Web
) -> None:
    [answer] = world.calls(web.proxy)

    [flow] = wait(lambda: [one for one in web.flows() if "$" in one["comment"]])
    assert answer["status"] == 200
    assert flow["comment"].startswith("atlas · gpt-4o-mini · allowed · $")
    assert flow["request"]["host"] == "api.openai.com"
    assert world.books()["open"] == 0


def test_refused_call_is_marked_in_mitmweb(world: World, web: Web) -> None:
    world.calls(web.proxy, path="/v1/fine_tuning/jobs")

    [flow] = wait(web.flows)
    assert flow["marked"] == NO_ENTRY
    assert "unknown_endpoint" in flow["comment"]


def test_decision_is_the_first_view_of_a_judged_flow(world: World, web: Web) -> None:
    world.calls(web.proxy)
    [flow] = wait(web.flows)

    _, shown = web.ask(f"/flows/{flow['id']}/request/content/Tollkeeper.json")

    assert b"agent: atlas" in shown


def test_no_credential_is_in_mitmwebs_json_or_its_download(world: World, web: Web) -> None:
    world.calls(web.proxy)
    wait(web.flows)

    looked = web.ask("/flows")[1] + web.ask("/flows/dump")[1] + web.ask("/events")[1]

    for secret in ("sk-agent", world.tokens["atlas"]):
        assert secret.encode() not in looked


def test_mitmweb_wants_its_token_and_listens_on_loopback(web: Web) -> None:
    assert web.ask("/flows", token=False)[0] == 403
    assert web.url.startswith("http://127.0.0.1:")


DISARMING_OPTIONS: list[tuple[str, Any]] = [
    ("ssl_insecure", True),
    ("ignore_hosts", [".*"]),
    ("allow_hosts", ["x"]),
    ("stream_large_bodies", "1"),
    ("rawtcp", True),
    ("mode", ["socks5"]),
    ("listen_port", 1),
    ("map_remote", ["|x|y"]),
    ("modify_headers", ["/x/y"]),
    ("scripts", ["/tmp/x.py"]),
    ("intercept", "~all"),
    ("server", False),
    ("tcp_timeout", 1),
    ("body_size_limit", "1"),
    ("ssl_verify_upstream_trusted_ca", "/tmp/x"),
    ("tls_version_server_min", "UNBOUNDED"),
    ("keep_alt_svc_header", True),
    ("confdir", "/tmp"),
    ("save_stream_file", "/tmp/flows"),
    ("web_host", "0.0.0.0"),
]


def test_options_that_would_disarm_us_are_refused(web: Web) -> None:
    for name, value in DISARMING_OPTIONS:
        before = web.option(name)

        status, text = web.ask("/options", "PUT", {name: value})

        assert (status, web.option(name)) == (400, before), (name, text)


def test_commands_that_would_disarm_us_are_refused(world: World, web: Web) -> None:
    world.calls(web.proxy)
    wait(web.flows)
    armed = {"ssl_insecure": False, "rawtcp": False, "connection_strategy": "lazy"}
    for command, arguments in [
        ("script.run", ["@all", "/tmp/x.py"]),
        ("replay.client", ["@all"]),
        ("replay.client.file", ["/tmp/x"]),
        ("options.reset", []),
        ("options.load", ["/tmp/x"]),
        ("options.save", ["/tmp/x"]),
        ("flow.set", ["@all", "host", "evil.example"]),
        ("save.file", ["@all", "/tmp/x"]),
        ("view.flows.load", ["/etc/passwd"]),
        ("inject.tcp", ["@focus", "true", "x"]),
        ("set", ["ssl_insecure", "true"]),
        ("set", ["rawtcp", "true"]),
    ]:
        _, text = web.ask(f"/commands/{command}", "POST", {"arguments": arguments})

        assert "error" in json.loads(text), command
        assert {name: web.option(name) for name in armed} == armed, command
    assert len(world.lab.calls()) == 1


def test_replay_duplicate_and_upload_reach_no_provider(world: World, web: Web) -> None:
    world.calls(web.proxy)
    [flow] = wait(web.flows)
    dump = web.ask("/flows/dump")[1]

    replayed, _ = web.ask(f"/flows/{flow['id']}/replay", "POST")
    web.ask(f"/flows/{flow['id']}/duplicate", "POST")
    web.ask("/flows/dump", "POST", dump.decode("latin-1"))

    assert replayed >= 400
    assert len(world.lab.calls()) == 1
    assert world.books()["calls"] == 1


def test_held_flow_can_be_neither_edited_nor_released_from_mitmweb(world: World, web: Web) -> None:
    world.policy(HOLD_ALL)
    wait(lambda: "Policy reloaded" in web.proxy.log.read_text())
    client = world.start_clients(web.proxy, 1)
    [approval] = world.waits_for_approval()
    [flow] = wait(lambda: [one for one in web.flows() if one["marked"] == HOURGLASS])

    edits = [
        web.ask(f"/flows/{flow['id']}", "PUT", {"request": {"host": "evil.example"}}),
        web.ask(f"/flows/{flow['id']}", "PUT", {"request": {"content": "{}"}}),
        web.ask(f"/flows/{flow['id']}/request/content.data", "POST", "x"),
    ]
    web.ask(f"/flows/{flow['id']}/resume", "POST")
    web.ask("/flows/resume", "POST")
    comment = web.ask(f"/flows/{flow['id']}", "PUT", {"comment": "seen"})

    assert [status for status, _ in edits] == [403] * 3
    assert comment[0] == 200
    assert world.lab.calls() == []
    world.verdict(approval)
    assert statuses(worlds.answers(client)) == {200: 1}


@pytest.mark.parametrize("way", ["kill", "kill all", "delete", "command"])
def test_kill_ends_a_held_call_at_once_and_is_no_answer(world: World, web: Web, way: str) -> None:
    world.policy(HOLD_ALL)
    wait(lambda: "Policy reloaded" in web.proxy.log.read_text())
    client = world.start_clients(web.proxy, 1)
    [approval] = world.waits_for_approval()
    [flow] = wait(lambda: [one for one in web.flows() if one["marked"] == HOURGLASS])

    match way:
        case "kill":
            web.ask(f"/flows/{flow['id']}/kill", "POST")
        case "kill all":
            web.ask("/flows/kill", "POST")
        case "delete":
            web.ask(f"/flows/{flow['id']}", "DELETE")
        case "command":
            web.command("flow.kill", "@all")

    assert statuses(worlds.answers(client)) == {0: 1}  # cut off without an answer
    wait(lambda: world.books()["open"] == 0)
    [left] = world.ledger().approvals()
    assert (left.id, left.state, left.waiting) == (approval, "open", 0)
    assert world.lab.calls() == []
    assert world.books()["spent"] == 0
    world.verdict(approval)
    assert statuses(world.calls(web.proxy)) == {200: 1}


def test_bare_resume_releases_nothing(world: World, web: Web) -> None:
    world.policy(HOLD_ALL)
    wait(lambda: "Policy reloaded" in web.proxy.log.read_text())
    client = world.start_clients(web.proxy, 1, leave_after=1)
    world.waits_for_approval()
    [flow] = wait(lambda: [one for one in web.flows() if one["marked"] == HOURGLASS])

    web.ask(f"/flows/{flow['id']}/resume", "POST")
    web.ask("/flows/resume", "POST")
    resumed = web.command("flow.resume", "@all")

    assert "error" in resumed
    assert statuses(worlds.answers(client)) == {0: 1}
    assert world.lab.calls() == []
    wait(lambda: world.books()["open"] == 0)


def test_flow_tells_how_its_hold_ended(world: World, web: Web) -> None:
    world.policy(HOLD_ALL)
    wait(lambda: "Policy reloaded" in web.proxy.log.read_text())
    client = world.start_clients(web.proxy, 1)
    [approval] = world.waits_for_approval()
    [flow] = wait(lambda: [one for one in web.flows() if one["marked"] == HOURGLASS])
    assert flow["comment"].startswith("atlas · gpt-4o-mini · held until ")
    assert flow["comment"].endswith(f" · rules.ask, {approval}")
    assert "response" not in flow  # the refusal that stands meanwhile is none

    world.verdict(approval, note="go on")

    assert statuses(worlds.answers(client)) == {200: 1}
    [flow] = wait(lambda: [one for one in web.flows() if "$" in one["comment"]])
    assert flow["comment"].endswith(" · approved by tester (cli)")
    shown = web.ask(f"/flows/{flow['id']}/request/content/Tollkeeper.json")[1].decode()
    assert "answered: approved by tester (cli)" in shown
    assert "note: go on" in shown


# ------------------------------------------------------------------ answering from mitmweb


@pytest.fixture
def held(world: World, web: Web) -> tuple[Any, str]:
    world.policy(HOLD_ALL)
    wait(lambda: "Policy reloaded" in web.proxy.log.read_text())
    client = world.start_clients(web.proxy, 1)
    [approval] = world.waits_for_approval()
    return client, approval


def test_command_with_the_operators_code_answers_and_is_recorded_with_its_origin(
    world: World, web: Web, held: tuple[Any, str]
) -> None:
    client, approval = held

    answer = web.command("tollkeeper.reject", approval, web.code(world), "too", "dear")

    assert answer["value"] == f"{approval} rejected: atlas, gpt-4o-mini."
    [refused] = worlds.answers(client)
    assert refused["status"] == 403
    assert b"too dear" in refused["body"]
    [record] = [row for row in world.ledger().audit(limit=100) if row["kind"] == "verdict"]
    assert (record["data"]["origin"], record["data"]["note"]) == ("mitmweb", "too dear")
    assert world.ledger().approval(approval).verdict.origin == "mitmweb"


def test_mitmwebs_token_alone_answers_nothing(
    world: World, web: Web, held: tuple[Any, str]
) -> None:
    _, approval = held
    used = web.code(world)
    assert "no approval" in web.command("tollkeeper.approve", "aaaaaaaaaa", used)["error"]
    digest = world.ledger().approval(approval).digest
    wrong = ["", "aaaa-bbbb-cccc", world.tokens["atlas"], web.url.rpartition("=")[2]]

    for code in wrong:
        assert "wrong" in web.command("tollkeeper.approve", approval, code)["error"]
    answer = {"approval": approval, "digest": digest, "answer": "approved", "note": ""}
    for headers in ({}, {"X-Tollkeeper-Operator": ""}, {"X-Tollkeeper-Operator": wrong[-1]}):
        assert web.ask("/tollkeeper/answer", "POST", answer, headers=headers)[0] == 403
    assert web.ask("/tollkeeper/unlock", "POST", {"code": "aaaabbbbcccc"})[0] == 403

    assert "Too many" in web.command("tollkeeper.approve", approval, web.code(world))["error"]
    assert world.ledger().approval(approval).state == "open"
    assert world.lab.calls() == []


def test_command_with_a_code_is_kept_in_no_history(world: World, web: Web) -> None:
    typed = web.code(world)

    web.command("commands.history.add", f"tollkeeper.approve abcdefghij {typed}")
    web.command("commands.history.add", "view.clear")

    kept = (world.home.ca / "command_history").read_text()
    assert kept == "view.clear\n"
    assert web.command("commands.history.get")["value"] == ["view.clear"]
