"""Attacks with mitmweb's token: every option, every command, every way to touch a flow that is held."""

from __future__ import annotations

import base64
import json
from collections import Counter
from collections.abc import Mapping
from typing import Any

import pytest

from e2e import world as worlds
from e2e.tunnel import ask, records, request
from e2e.world import World, answers, statuses, wait
from proxy.web import HOLD_ALL, Web
from tollkeeper.proxy.locks import DISPLAY, LOCKED
from tollkeeper.proxy.serve import WEB_COMMANDS_KEPT

SPECIAL: Mapping[str, Any] = {
    "stream_large_bodies": "1k",
    "body_size_limit": "1m",
    "intercept": "~all",
    "ignore_hosts": [".*"],
    "allow_hosts": ["nobody"],
    "tcp_hosts": [".*"],
    "mode": ["socks5"],
    "map_local": ["|.*|/etc/passwd"],
    "map_remote": ["|api.openai.com|evil.example"],
    "modify_body": ["/~q/hello/owned"],
    "modify_headers": ["/~q/x/y"],
    "scripts": ["/tmp/owned.py"],
    "server_replay": ["/tmp/owned"],
    "client_replay": ["/tmp/owned"],
    "confdir": "/tmp",
    "emudhra_ca": True,
}
"""What an attacker would set, where another value of the same type does nothing for him."""


@pytest.fixture
def web(world: World, monkeypatch: pytest.MonkeyPatch) -> Web:
    """A proxy beside mitmweb, and who has its token."""
    monkeypatch.setattr(worlds, "SERVE", worlds.SERVE.replace("port=0", "port=0, web=0"))
    world.agent()
    proxy = world.proxy()
    return Web(proxy, wait(lambda: json.loads(world.home.process.read_text())["web"]))


def other_value(name: str, option: Mapping[str, Any]) -> Any:
    """Another value than it has, of its type."""
    value = option["value"]
    if name in SPECIAL and SPECIAL[name] != value:
        return SPECIAL[name]
    if option["choices"]:
        return next(one for one in option["choices"] if one != value)
    kind = str(option["type"])
    if kind == "bool":
        return not value
    if "int" in kind:
        return (value or 0) + 1
    return [*(value or []), "x"] if "sequence" in kind else f"{value or ''}x"


MODES = [
    "socks5", "transparent", "reverse:https://evil.example", "upstream:http://evil.example", "dns",
    "regular@0.0.0.0:0", "socks5@0.0.0.0:0", "wireguard", "local",
]  # fmt: skip


@pytest.mark.parametrize("mode", MODES)
def test_no_other_listener_is_opened_and_ours_is_not_closed(
    world: World, web: Web, mode: str
) -> None:
    """Not even for the moment until the change is taken back."""
    before = web.ask("/state")[1]

    status, _ = web.ask("/options", "PUT", {"mode": [mode]})

    assert status == 400
    assert ask(world, request()).status == 200
    assert web.ask("/state")[1] == before
    log = web.proxy.log.read_text()
    assert log.count("listening at") == 2  # ours and mitmweb's own
    assert "stopped" not in log


def options(web: Web) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = json.loads(web.ask("/options")[1])
    return found


def counted(world: World) -> Counter[str]:
    """Who was turned away, by cause; the proxy has ended."""
    found: Counter[str] = Counter()
    for one in records(world, "turned_away"):
        found.update(one)
    return found


def test_no_option_but_what_is_shown_can_be_changed_and_each_try_is_recorded(
    world: World, web: Web
) -> None:
    before = options(web)
    refused = 0

    for name, option in before.items():
        status, told = web.ask("/options", "PUT", {name: other_value(name, option)})
        if not name.startswith(DISPLAY):
            assert (status, web.option(name)) == (400, option["value"]), (name, told)
            refused += b"Tollkeeper" in told
    together, _ = web.ask("/options", "PUT", {"view_filter": "~q", "ssl_insecure": True})
    by_command = web.command("set", "ssl_insecure", "true")

    assert together == 400
    assert "error" in by_command
    after = options(web)
    assert set(LOCKED) <= set(after)
    for name, value in before.items():
        assert name.startswith(DISPLAY) or after[name] == value
    assert ask(world, request()).status == 200
    assert ask(world, request(path="/v1/files")).status == 403
    assert len(world.lab.calls()) == 1
    web.proxy.stop()
    assert counted(world)["change of a locked option"] == refused + 2
    assert refused > 70


def test_only_commands_that_show_things_are_there(web: Web) -> None:
    listed = json.loads(web.ask("/commands")[1])

    ours = {"tollkeeper.approve", "tollkeeper.reject"}
    assert {one for one in listed if not one.startswith(WEB_COMMANDS_KEPT)} == ours
    for gone in ("script.run", "replay.client", "options.reset", "save.file", "flow.set"):
        assert "error" in web.command(gone, "@all", "x")


@pytest.mark.parametrize("way", ["edits and reverts", "clears the list", "duplicates and replays"])
def test_whoever_touches_a_held_flow_changes_nothing_of_what_is_forwarded(
    world: World, web: Web, way: str
) -> None:
    world.policy(HOLD_ALL)
    wait(lambda: "Policy reloaded" in web.proxy.log.read_text())
    client = world.start_clients(web.proxy, 1)
    [approval] = world.waits_for_approval()
    [flow] = wait(web.flows)
    path = f"/flows/{flow['id']}"

    if way == "edits and reverts":
        for part in ({"path": "/v1/files"}, {"headers": [["x", "y"]]}, {"method": "DELETE"}):
            assert web.ask(path, "PUT", {"request": part})[0] == 403
        assert web.ask(path, "PUT", {"response": {"code": 200}})[0] == 403
        assert web.ask(path, "PUT", {"comment": "seen", "marked": ":x:"})[0] == 200
        web.ask(f"{path}/revert", "POST")
    elif way == "clears the list":
        web.ask("/clear", "POST")
    else:
        web.ask(f"{path}/duplicate", "POST")
        web.ask(f"{path}/replay", "POST")
        web.ask("/flows/resume", "POST")
    assert world.lab.calls() == []
    world.verdict(approval)

    assert statuses(answers(client)) == {200: 1}
    [call] = world.lab.calls(ended=1)
    assert base64.b64decode(call["head_base64"]).startswith(b"POST /v1/chat/completions ")
    books = world.books()
    assert (books["calls"], books["open"]) == (1, 0)


def test_mitmweb_is_not_there_unless_it_is_asked_for(world: World) -> None:
    world.agent()
    world.proxy()

    assert json.loads(world.home.process.read_text())["web"] is None


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]"])
def test_agent_is_not_led_to_mitmweb(world: World, web: Web, host: str) -> None:
    port = web.url.rpartition(":")[2].partition("/")[0]
    world.policy({"other_hosts": {"inspect": ["localhost"], "ports": [443, int(port)]}})
    wait(lambda: "Policy reloaded" in web.proxy.log.read_text())
    code = (
        "import os, urllib.request, urllib.error\n"
        "opener = urllib.request.build_opener(urllib.request.ProxyHandler("
        "{'http': os.environ['HTTPS_PROXY']}))\n"
        f"try: print(opener.open('http://{host}:{port}/flows', timeout=20).status)\n"
        "except urllib.error.HTTPError as error: print(error.code)\n"
    )

    said = world.python(code, web.proxy)

    assert said.stdout.strip() in ("403", "502", "400")
