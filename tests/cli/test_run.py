from __future__ import annotations

import json
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from ledger.scripted import ATLAS, ATLAS_TODAY, PRINCIPAL, ScriptedCase, measured, with_atlas
from tollkeeper.domain import KeySource, Limits, Mode, Policy, Provider
from tollkeeper.home import Home
from tollkeeper.ledger.sqlite import SqliteLedger
from tollkeeper.simulator.lab import Lab
from tollkeeper_cli.run import injected, summary
from tollkeeper_cli.units import dollars

from .conftest import CALL, REAL_KEY, Cli, Shell, python, until


def test_run_starts_a_proxy_makes_the_agent_and_sums_up(ready: Shell, cli: Cli) -> None:
    done = ready.run(
        "run", "--agent", "atlas", "--run", "first", "--budget", "0.5", "--goal", "say hello",
        "--port", "0", "--", *python(CALL, "hello [sim text=Hi.]", "forbidden"),
    )  # fmt: skip

    assert done.code == 0
    assert done.lines[0] == "Hi."
    assert done.lines[1].startswith("403 ")
    assert "Not that." in done.lines[1]
    assert "started a proxy on 127.0.0.1:" in done.err
    assert "made the agent 'atlas'" in done.err
    assert "same-user: " in done.err
    last = done.err.splitlines()[-1]
    assert re.fullmatch(
        r"tollkeeper: 2 calls, \$0\.\d+, 1 refused \(1 policy_denied\) in run first", last
    )
    shown = cli("runs", "show", "first", "--json").data
    assert (shown["agent"], shown["goal"], shown["state"]) == ("atlas", "say hello", "ended")
    [token] = cli("agent", "show", "atlas", "--json").data["tokens"]
    assert (token["run"], token["state"]) == ("first", "revoked")
    rows = cli("budget", "show", "run:first", "--json").data
    assert [(row["limit_usd"], row["source"]) for row in rows] == [("0.50", "run first")]
    assert cli("audit", "verify").code == 0


def test_the_child_gets_the_proxy_the_workspace_and_no_real_key(
    ready: Shell, tmp_path: Path
) -> None:
    code = "import json, os; print(json.dumps([dict(os.environ), os.getcwd()]))"

    done = ready.run("run", "--workspace", str(tmp_path), "--port", "0", "--", *python(code))

    environment, folder = json.loads(done.out)
    assert re.fullmatch(r"http://local:tk_[\w-]{43}@127\.0\.0\.1:\d+", environment["HTTPS_PROXY"])
    assert environment["https_proxy"] == environment["HTTPS_PROXY"]
    assert environment["WORKSPACE"] == folder == str(tmp_path)
    assert environment["SSL_CERT_FILE"] == str(ready.home.bundle)
    assert REAL_KEY not in done.out
    assert REAL_KEY not in done.err


def test_a_held_call_is_announced_answered_elsewhere_and_goes_on(
    ready: Shell, cli: Cli, tmp_path: Path
) -> None:
    said = tmp_path / "said"
    command = [
        "run",
        "--port",
        "0",
        "--",
        *python(CALL, "hold me [sim text=Thanks.]", "hold me again"),
    ]
    with said.open("w") as file:
        process = ready.start(*command, stderr=file)

    def announced(number: int) -> str | None:
        shown = (
            r"held (\w{10}): gpt-4o, at most \$0\.\d+ \(rule ask-me\)\n.*: tollkeeper approve \1, "
        )
        found = re.findall(shown, said.read_text())
        return found[number] if len(found) > number else None

    first = until(lambda: announced(0))
    assert cli("approve", first).out == f"{first} approved: local, gpt-4o.\n"
    second = until(lambda: announced(1))
    assert cli("reject", second, "--note", "enough").code == 0

    out, _ = process.communicate(timeout=90)
    assert out.splitlines() == ["Thanks.", "403 A person rejected this call: enough"]
    err = said.read_text()
    assert f"tollkeeper: {first} approved by " in err
    assert re.search(rf"tollkeeper: {second} rejected by \S+: enough\n", err)
    assert "2 held" in err.splitlines()[-1]


@pytest.mark.parametrize(
    ("code", "status"), [("raise SystemExit(7)", 7), ("import os; os.kill(os.getpid(), 9)", 137)]
)
def test_the_exit_code_is_the_programs_own(ready: Shell, code: str, status: int) -> None:
    assert ready.run("run", "--port", "0", "--", *python(code)).code == status


def test_signals_go_on_to_the_program_and_the_run_still_ends(ready: Shell, cli: Cli) -> None:
    code = (
        "import signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *a: sys.exit(42))\n"
        "print('ready', flush=True)\n"
        "time.sleep(60)"
    )
    process = ready.start("run", "--run", "long", "--port", "0", "--", *python(code))
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"

    process.send_signal(signal.SIGTERM)

    process.communicate(timeout=90)
    assert process.returncode == 42
    assert cli("runs", "show", "long", "--json").data["state"] == "ended"


def test_deleted_agent_is_not_made_again_by_a_run(ready: Shell, cli: Cli) -> None:
    cli("agent", "create", "scout", "--budget", "0.01")
    assert cli("agent", "delete", "scout").code == 0

    done = ready.run("run", "--agent", "scout", "--port", "0", "--", *python("print('ran')"))

    assert (done.code, done.out) == (1, "")
    assert "The agent 'scout' was deleted" in done.err


def test_what_is_no_program_starts_nothing(cli: Cli, home: Home) -> None:
    done = cli("run", "--", "no-such-program-anywhere")

    assert done.code == 127
    assert not home.root.exists()


@pytest.mark.parametrize(
    "words",
    [[], ["--budget", "much", "--", "true"], ["--agent", "a:b", "--", "true"]],
    ids=" ".join,
)
def test_a_run_that_cannot_be_meant_is_wrong_usage(cli: Cli, home: Home, words: list[str]) -> None:
    assert cli("run", *words).code == 2
    assert not home.root.exists()


def test_the_programs_own_options_stay_its_own(ready: Shell) -> None:
    done = ready.run(
        "run",
        "--port",
        "0",
        sys.executable,
        "-c",
        "import sys; print(sys.argv)",
        "--help",
        "--json",
    )

    assert done.out == "['-c', '--help', '--json']\n"


def test_a_run_of_this_name_is_not_begun_twice(ready: Shell) -> None:
    assert ready.run("run", "--run", "once", "--port", "0", "--", "true").code == 0

    again = ready.run("run", "--run", "once", "--port", "0", "--", "true")

    assert again.code == 1
    assert "already" in again.err


def test_another_policy_than_the_running_proxys_is_refused(ready: Shell, tmp_path: Path) -> None:
    other = tmp_path / "other.yaml"
    other.write_text("version: 1\n")
    ready.run("run", "--port", "0", "--", "true")

    done = ready.run("run", "--policy", str(other), "--", "true")

    assert done.code == 1
    assert "tollkeeper down" in done.err


def test_env_makes_a_shell_the_agents(ready: Shell, cli: Cli) -> None:
    cli("agent", "create", "atlas")
    ready.run("up", "--detach", "--port", "0")

    done = ready.run("env", "atlas", "--ttl", "1h")

    assert (done.code, done.err) == (0, "")
    assert all(re.match(r"(export \w+=|unset \w+$)", line) for line in done.lines)
    assert REAL_KEY not in done.out
    script = f"{done.out}\n{shlex.join(python(CALL, 'hello [sim text=Hi.]'))}"
    said = subprocess.run(
        ["sh", "-c", script], capture_output=True, text=True, env=ready.environment, check=True
    )
    assert said.stdout == "Hi.\n"
    assert cli("agent", "show", "atlas", "--json").data["tokens"][-1]["expires_at"] is not None


def test_an_agent_that_is_made_by_a_slip_is_told_beside_the_one_that_was_meant(
    ready: Shell, cli: Cli
) -> None:
    cli("agent", "create", "atlas", "--budget", "1")

    done = ready.run("run", "--agent", "altas", "--port", "0", "--", *python("pass"))

    said = "made the agent 'altas'. There is 'atlas' too, with limits of its own."
    assert (done.code, said in done.err) == (0, True)


def test_env_of_nobody_prints_nothing_to_eval(cli: Cli, made: Home) -> None:
    done = cli("env", "nobody")

    assert (done.code, done.out) == (1, "")
    assert "no agent 'nobody'" in done.err


def test_child_keeps_its_own_keys_where_its_parent_uses_its_own() -> None:
    openai = Provider("openai", (), "openai", key=KeySource(env="REAL"))
    default, own = Limits(key="injected"), Limits(key="own")
    policy = Policy(
        "digest", Mode.ENFORCE, "UTC", {"openai": openai},
        agents={"default": default, "atlas": own},
    )  # fmt: skip

    assert injected(policy, ["stranger"]) == ["REAL"]
    assert injected(policy, ["atlas"]) == injected(policy, ["atlas.ant", "atlas"]) == []


def test_what_was_refused_before_it_was_read_is_in_the_summary(ready: Shell, cli: Cli) -> None:
    cli("agent", "create", "atlas")
    cli("agent", "pause", "atlas")

    paused = ready.run("run", "--agent", "atlas", "--port", "0", "--", *python(CALL, "a", "b"))

    assert [line.partition(" ")[0] for line in paused.lines] == ["403", "403"]
    assert (
        "0 calls, $0.00, 2 refused before they were read (2 agent_paused) in run"
        in paused.err.splitlines()[-1]
    )


def test_calls_that_reach_no_provider_are_told_apart_in_the_summary(ready: Shell) -> None:
    policy = yaml.safe_load(ready.home.policy.read_text())
    policy["providers"]["openai"]["connect_to"] = "127.0.0.1:1"
    ready.home.policy.write_text(yaml.safe_dump(policy))

    done = ready.run("run", "--port", "0", "--", *python(CALL, "a", "b"))

    assert [line.partition(" ")[0] for line in done.lines] == ["502", "502"]
    assert "2 calls, $0.00, 2 that reached no provider in run" in done.err.splitlines()[-1]
    assert ready.home.log.read_text().count("WARNING No answer from api.openai.com: ") == 2


def test_what_calls_that_never_ended_have_reserved_is_in_the_summary(tmp_path: Path) -> None:
    ledger = with_atlas(SqliteLedger(tmp_path / "tollkeeper.db"))
    case = ScriptedCase(budgets={ATLAS: 10**12}, now_ns=ATLAS_TODAY.starts_ns)
    made = ledger.admit(case, PRINCIPAL, ATLAS_TODAY.starts_ns)
    reserved = dollars(made.decision.reserve_nano_usd)

    told = summary(ledger, PRINCIPAL.run)
    ledger.settle(made.id, measured(60), ATLAS_TODAY.starts_ns + 1)

    assert told == f"1 call, $0.00, {reserved} still reserved in run {PRINCIPAL.run}"
    assert "reserved" not in summary(ledger, PRINCIPAL.run)
    ledger.close()


def test_an_unknown_endpoint_is_in_the_summary_of_its_own_run_alone(ready: Shell) -> None:
    unknown = CALL.replace("/v1/chat/completions", "/v1/nothing-known")
    ready.run("run", "--run", "first", "--port", "0", "--", *python(unknown, "a"))

    done = ready.run("run", "--run", "second", "--port", "0", "--", *python(unknown, "a", "b"))

    last = done.err.splitlines()[-1]
    assert (
        "0 calls, $0.00, 2 refused before they were read (2 unknown_endpoint) in run second" in last
    )


def test_a_users_own_exceptions_stay_and_governed_hosts_are_taken_out_with_a_word(
    ready: Shell,
) -> None:
    ready.environment["NO_PROXY"] = "git.corp.example,openai.com"
    code = "import os; print(os.environ['NO_PROXY'], os.environ['no_proxy'])"

    done = ready.run("run", "--port", "0", "--", *python(code))

    assert done.lines == [" ".join(["localhost,127.0.0.1,::1,git.corp.example"] * 2)]
    assert "taken out of NO_PROXY, because governed hosts are there: openai.com\n" in done.err


def test_a_companys_own_root_reaches_the_program_merged_with_ours(
    ready: Shell, lab: Lab, tmp_path: Path
) -> None:
    ready.environment["SSL_CERT_FILE"] = str(lab.certificate)
    code = (
        "import os, ssl\n"
        f"root = ssl.PEM_cert_to_DER_cert(open({str(lab.certificate)!r}).read())\n"
        "known = ssl.create_default_context().get_ca_certs(binary_form=True)\n"
        "print(root in known, len(known) > 100)"
    )

    done = ready.run("run", "--port", "0", "--", *python(f"{code}\n"))

    assert done.lines == ["True True"], done.err


@pytest.mark.parametrize(
    ("version", "script", "warned"),
    [("v20.20.2", "node", True), ("v24.1.0", "node", False), ("v20.20.2", "sh", False)],
)
def test_a_script_on_a_node_that_goes_past_the_proxy_is_warned_of(
    ready: Shell, tmp_path: Path, version: str, script: str, warned: bool
) -> None:
    node, program = tmp_path / "bin" / "node", tmp_path / "bin" / "agent"
    node.parent.mkdir()
    node.write_text(f"#!/bin/sh\necho {version}\n")
    program.write_text(f"#!/usr/bin/env {script}\n")
    for file in (node, program):
        file.chmod(0o755)
    ready.environment["PATH"] = f"{node.parent}:{ready.environment['PATH']}"

    done = ready.run("run", "--port", "0", "--", "agent")

    assert ("ignores HTTPS_PROXY" in done.err) == warned


def test_runs_that_begin_together_make_their_agent_once(ready: Shell) -> None:
    ready.run("up", "--detach", "--port", "0")

    started = [ready.start("run", "--agent", "atlas", "--", "true") for _ in range(4)]
    ended = [(process.communicate(timeout=90)[1], process.returncode) for process in started]

    assert [code for _, code in ended] == [0] * 4, ended
    assert sum("made the agent 'atlas'" in said for said, _ in ended) == 1
