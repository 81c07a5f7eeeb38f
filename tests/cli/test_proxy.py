from __future__ import annotations

import json
import os
import signal
import socket
from pathlib import Path

import pytest

from tollkeeper.home import Home
from tollkeeper.proxy.processes import owner_name
from tollkeeper_cli.process import running

from .conftest import Cli, Shell, until


def test_a_proxy_goes_up_tells_its_status_and_goes_down(cli: Cli, made: Home, shell: Shell) -> None:
    up = shell.run("up", "--detach", "--port", "0")

    assert (up.code, up.err) == (0, "")
    status = cli("status", "--json")
    assert status.code == 0
    assert status.data["running"] is True
    assert status.data["reachable"] is True
    assert status.data["mode"] == "enforce"
    assert f"Tollkeeper listens on {status.data['address']} (pid {status.data['pid']})." in up.out
    again = cli("up", "--detach")
    assert again.code == 1
    assert "runs already" in again.err

    down = cli("down")

    assert (
        down.out == f"Stopped the proxy on {status.data['address']} (pid {status.data['pid']}).\n"
    )
    assert not made.process.exists()
    assert cli("status").code == 1
    assert cli("down").err == "No proxy runs.\n"


def test_a_proxy_in_the_foreground_says_where_it_listens_and_ends_on_a_signal(
    made: Home, shell: Shell
) -> None:
    process = shell.start("up", "--port", "0")
    assert process.stdout is not None

    assert process.stdout.readline().startswith("Tollkeeper listens on 127.0.0.1:")
    assert until(lambda: running(made)) is not None
    process.send_signal(signal.SIGTERM)

    process.communicate(timeout=90)
    assert process.returncode == 0
    assert running(made) is None


def test_a_policy_that_does_not_load_is_told_where_it_is_started(made: Home, shell: Shell) -> None:
    made.policy.write_text("version: 1\nagnets: {}\n")

    for words in (["up", "--port", "0"], ["up", "--detach", "--port", "0"]):
        done = shell.run(*words)
        assert (done.code, done.out) == (1, "")
        assert "policy.yaml:2:1: unknown key 'agnets'" in done.err


def test_what_a_killed_proxy_left_is_not_believed(cli: Cli, made: Home) -> None:
    made.process.write_text(
        json.dumps({"pid": 2**22 + 1, "port": 8080, "host": "127.0.0.1", "started_ns": 0})
    )

    assert cli("status", "--json").data["running"] is False
    assert cli("down").err == "No proxy runs.\n"


def test_what_a_container_before_this_one_left_is_not_believed(cli: Cli, made: Home) -> None:
    said = {"pid": 1, "port": 8080, "host": "0.0.0.0", "owner": "other-container/1/77"}
    made.process.write_text(json.dumps(said))

    assert cli("status", "--json").data["running"] is False


def test_logs_show_the_end_escaped(cli: Cli, made: Home) -> None:
    made.log.write_text("one\ntwo \x1b[31m\nthree\n")

    assert cli("logs", "-n", "2").out == "two \\x1b[31m\nthree\n"
    assert cli("logs", "-n", "0").out == ""


def test_logs_follow_new_lines_over_a_rotation(made: Home, shell: Shell) -> None:
    made.log.write_text("old\n")
    process = shell.start("logs", "-f")
    assert process.stdout is not None

    try:
        assert process.stdout.readline() == "old\n"
        with made.log.open("a") as log:
            log.write("new\n")
        assert process.stdout.readline() == "new\n"
        made.log.rename(made.log.with_suffix(".1"))
        made.log.write_text("after\n")
        assert process.stdout.readline() == "after\n"
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=90) == 130
    finally:
        process.kill()
        process.communicate()


def test_no_log_yet_is_said(cli: Cli, made: Home) -> None:
    assert cli("logs").err == "No log yet: the proxy has not run.\n"


@pytest.mark.parametrize("more", [[], ["--detach"]])
@pytest.mark.parametrize("option", ["--port", "--listen", "--operator"])
def test_port_of_another_program_is_told_with_the_way_out(
    cli: Cli, made: Home, option: str, more: list[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        place = str(port) if option == "--port" else f"127.0.0.1:{port}"
        free = [] if option != "--operator" else ["--port", "0"]
        done = cli("up", *free, option, place, *more)

    assert done.code == 1
    assert done.err.startswith(f"error: 127.0.0.1:{port} is in use by another program")
    assert f"with {option} " in done.err


def test_empty_log_is_said(cli: Cli, made: Home) -> None:
    made.log.touch()

    done = cli("logs")

    assert (done.code, done.out) == (0, "")
    assert done.err == "The log is empty: the proxy had nothing to tell.\n"


def test_listeners_and_operator_port_are_shown_while_it_runs(
    cli: Cli, made: Home, shell: Shell
) -> None:
    words = ["--listen", "127.0.0.1:0", "--listen", "127.0.0.2:0", "--operator", "0"]

    up = shell.run("up", "--detach", *words)

    assert (up.code, up.err) == (0, "")
    data = cli("status", "--json").data
    assert [one.rpartition(":")[0] for one in data["listeners"]] == ["127.0.0.1", "127.0.0.2"]
    assert data["reachable"] is True
    assert data["shutting_down"] is False
    assert f"Tollkeeper listens on {', '.join(data['listeners'])} (pid {data['pid']})." in up.out
    assert f"operator port: http://{data['operator']}/readyz" in up.out


def test_listener_for_other_machines_is_warned_of(made: Home, shell: Shell) -> None:
    up = shell.run("up", "--detach", "--host", "0.0.0.0", "--port", "0")

    assert up.code == 0
    assert "warning: 0.0.0.0:" in up.err
    assert "is reached from other machines" in up.err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--listen", "127.0.0.1:0", "--port", "1"], "--listen stands instead of"),
        (["--listen", "127.0.0.1"], "Expected HOST:PORT"),
        (["--operator", "x:y"], "Expected HOST:PORT"),
        (["--grace", "soon"], "no duration"),
        (["--log-format", "xml"], "log-format"),
    ],
)
def test_words_that_make_no_sense_start_no_proxy(
    cli: Cli, made: Home, words: list[str], told: str
) -> None:
    done = cli("up", *words)

    assert done.code in (1, 2)
    assert told in done.err


def test_proxy_that_is_shutting_down_is_told_apart(cli: Cli, made: Home) -> None:
    said = {"pid": os.getpid(), "port": 1, "owner": owner_name(), "closing": 2}
    made.process.write_text(json.dumps(said))

    assert cli("status", "--json").data["shutting_down"] is True
    again = cli("up", "--detach")
    assert again.code == 1
    assert "shutting down: wait, or `tollkeeper down --now`" in again.err


def test_status_tells_a_broken_edit_in_one_line_and_programs_all_of_it(
    cli: Cli, made: Home, shell: Shell
) -> None:
    assert shell.run("up", "--detach", "--port", "0").code == 0
    made.policy.write_text("version: 1\nagnets: {}\nmodde: x\n")
    key = "newest edit not in force"

    told = until(lambda: cli("status", "--json").data.get(key))
    [line] = [line for line in cli("status").lines if line.startswith(key)]
    cli("down")

    assert len(told.splitlines()) == 2
    assert line.endswith("did you mean 'agents'? (and 1 more: tollkeeper policy check)")


def test_log_of_json_lines_is_one_object_a_line_and_logs_shows_it_readably(
    cli: Cli, made: Home, shell: Shell
) -> None:
    assert shell.run("up", "--detach", "--port", "0", "--log-format", "json").code == 0
    made.policy.write_text("version: 1\nagnets: {}\n")
    until(lambda: "agnets" in made.log.read_text())
    shown = cli("logs").lines
    assert cli("down").code == 0

    started, broken, stopped = map(json.loads, made.log.read_text().splitlines())
    assert started["message"].startswith("Started on 127.0.0.1:")
    assert str(made.policy) in started["message"]
    assert (broken["level"], broken["logger"]) == ("error", "tollkeeper.proxy.policy_file")
    assert "agnets" in broken["message"]
    assert stopped["message"] == "Stopped"
    assert shown[1].startswith(f"{broken['ts']} ERROR The policy was not reloaded")
    assert shown[2].startswith("    ")


def test_script_prints_the_addon_for_a_mitmproxy_of_ones_own(cli: Cli) -> None:
    path = Path(cli("script").out.strip())

    assert path.name == "script.py"
    assert "addons = " in path.read_text()
