"""Attacks on the people behind it: what they read, what they write, what they edit."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from e2e.tunnel import CHAT, Tunnel, ask, records, request
from e2e.world import PATIENCE_SECONDS, World, wait

ESCAPES = "\x1b[2J\x1b]0;owned\x07\x9b31m\u202egnp.exe\u2066\u200b\rapprove me\x00\x08"
"""Clear the screen, set the title, colour by C1, write right to left, overwrite the line."""

HOLD = {
    "rules": [{"name": "ask", "call": {"prompt": {"matches": "approve"}}, "hold": {}}],
    "examples": [],
}


def tollkeeper(
    world: World, *arguments: str, inside: Sequence[str] = ()
) -> subprocess.CompletedProcess[bytes]:
    """The command line, as the operator runs it; ``inside`` is a command that runs it."""
    code = "import sys; from tollkeeper_cli.main import main; sys.exit(main())"
    return subprocess.run(
        [*inside, sys.executable, "-c", code, *arguments],
        env=os.environ | {"TOLLKEEPER_HOME": str(world.home.root)},
        capture_output=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )


def is_plain(said: bytes) -> bool:
    """Nothing in it moves a terminal's cursor or turns its letters round."""
    text = said.decode()
    return not [one for one in text if one != "\n" and (not one.isprintable())]


def test_prompt_cannot_paint_on_the_terminal_of_who_approves_it(world: World) -> None:
    world.policy(HOLD)
    world.agent()
    proxy = world.proxy()
    call = CHAT | {
        "user": ESCAPES,
        "messages": [{"role": "user", "content": f"approve {ESCAPES}"}],
        "tools": [{"type": "function", "function": {"name": f"t{ESCAPES}", "parameters": {}}}],
    }
    with Tunnel(world, proxy) as tunnel:
        tunnel.send(request(call))
        [approval] = world.waits_for_approval()

        shown = [
            tollkeeper(world, "approval", "show", approval),
            tollkeeper(world, "approval", "list"),
            tollkeeper(world, "audit"),
            tollkeeper(world, "runs"),
        ]
        for done in shown:
            assert done.returncode == 0, done.stderr
            assert is_plain(done.stdout + done.stderr), done
        assert b"gnp.exe" in shown[0].stdout
        tollkeeper(world, "reject", approval, "--note", ESCAPES.replace("\x00", ""))
        refused = tunnel.hear()
    assert refused.status == 403
    assert is_plain(tollkeeper(world, "approval", "list", "--all").stdout)


def test_model_and_path_cannot_paint_on_the_log_or_the_record(world: World) -> None:
    world.agent()
    proxy = world.proxy()

    ask(world, request(CHAT | {"model": f"gpt{ESCAPES}"}))
    ask(world, request(path="/v1/\x1b[2J\x9b31m"))

    assert is_plain(tollkeeper(world, "audit").stdout)
    assert "\x1b" not in proxy.log.read_text(errors="replace")


BOMBS = {
    "aliases": "version: 1\na: &a [x, x, x, x, x, x, x, x, x]\n"
    + "".join(f"{chr(98 + n)}: &{chr(98 + n)} [{', '.join(['*' + chr(97 + n)] * 9)}]\n" for n in range(9)),
    "nesting": "version: 1\nrules: " + "[" * 100_000,
    "one long text": "version: 1\ntimezone: " + "x" * 20_000_000,
    "a merge of itself": "version: 1\na: &a {<<: *a}\n",
    "an object of Python": "version: 1\na: !!python/object/apply:os.system ['touch /tmp/owned']\n",
    "a back reference": "version: 1\nrules: [{name: r, call: {prompt: {matches: '(a)\\1'}}, deny: No.}]\n",
    "a key twice": "version: 1\nmode: observe\nmode: enforce\n",
    "a truth value of YAML 1.1": "version: 1\nwebsockets: yes\n",
    "a number of YAML 1.1": "version: 1\nagents: {atlas: {rpm: 10:30}}\n",
    "an unknown key": "version: 1\nmood: enforce\n",
    "a repetition of repetitions": "version: 1\nrules: [{name: r, call: {prompt: {matches: '((a{999}){999}){999}'}}, deny: No.}]\n",
}  # fmt: skip


@pytest.mark.parametrize("what", BOMBS)
def test_bomb_in_an_edited_policy_leaves_the_last_good_one_in_force(town: World, what: str) -> None:
    path = town.home.root / "policy.yaml"
    good = path.read_text()
    before = len(records(town, "policy_broken"))

    temporary = Path(f"{path}.new")
    temporary.write_text(BOMBS[what])
    temporary.replace(path)

    wait(lambda: len(records(town, "policy_broken")) > before)
    where = "" if what == "one long text" else r":\d+:\d+"  # which is not even read
    assert re.match(rf".*policy\.yaml{where}: ", records(town, "policy_broken")[-1]["problem"])
    assert ask(town, request()).status == 200
    temporary.write_text(good)
    temporary.replace(path)


def test_expression_that_explodes_elsewhere_delays_no_call(world: World) -> None:
    evil = {"name": "evil", "call": {"prompt": {"matches": "(x+x+)+y"}}, "deny": "No."}
    world.policy(
        {"rules": [evil, {**evil, "name": "more", "call": {"prompt": {"matches": "(.*a){20}"}}}]}
    )
    world.agent()
    world.proxy()

    said = ask(world, request(CHAT | {"messages": [{"role": "user", "content": "x" * 60_000}]}))

    assert said.status == 200  # elsewhere nobody would live to see it
