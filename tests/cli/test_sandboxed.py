from __future__ import annotations

import os
import shutil
import signal
import socket
from pathlib import Path

import pytest

from tollkeeper.errors import UsageError
from tollkeeper.home import Home
from tollkeeper_cli.sandboxed import find_bubblewrap

from .conftest import CALL, Cli, Shell, python


def bubblewrap() -> str | None:
    try:
        return find_bubblewrap()
    except UsageError:
        return None


needs_bubblewrap = pytest.mark.skipif(
    bubblewrap() is None, reason="needs bubblewrap, and leave to make user namespaces"
)


@pytest.fixture
def user(ready: Shell, tmp_path: Path) -> Shell:
    """With a home folder and a project in it."""
    home = tmp_path / "user"
    (home / "project").mkdir(parents=True)
    (home / ".ssh").mkdir()
    (home / ".ssh" / "config").write_text("Host *\n")
    (home / ".bashrc").write_text("# mine\n")
    ready.environment["HOME"] = str(home)
    return ready


def run(user: Shell, *program: str, options: tuple[str, ...] = ()) -> list[str]:
    project = Path(user.environment["HOME"], "project")
    done = user.run(
        "run", "--sandbox", "--workspace", str(project), "--port", "0", *options, "--", *program
    )
    assert done.code == 0, done.err
    assert "sandboxed: " in done.err
    return done.lines


@needs_bubblewrap
def test_call_from_a_sandbox_is_governed_like_any_other(user: Shell, cli: Cli) -> None:
    lines = run(
        user, *python(CALL, "hello [sim text=Hi.]", "forbidden"), options=("--run", "boxed")
    )

    assert lines[0] == "Hi."
    assert "Not that." in lines[1]
    assert [one["effect"] for one in cli("runs", "show", "boxed", "--json").data["calls"]] == [
        "allow", "deny",
    ]  # fmt: skip


@needs_bubblewrap
def test_sandboxed_program_sees_nothing_of_the_state_and_answers_nothing(user: Shell) -> None:
    looked = (
        "import glob, os, subprocess, sys\n"
        "state = os.environ['TOLLKEEPER_HOME']\n"
        "print(sorted(os.path.relpath(one, state) for one in glob.glob(state + '/**', recursive=True)"
        " if os.path.isfile(one)))\n"
        "print(subprocess.run([sys.executable, '-m', 'tollkeeper_cli', 'approve', 'abcdefghjk'],"
        " capture_output=True).returncode)\n"
        "print(sum(name.isdigit() for name in os.listdir('/proc')) < 10)\n"
    )

    lines = run(user, *python(looked))

    assert lines[0] == "['ca/bundle.pem', 'ca/mitmproxy-ca-cert.pem']"
    assert lines[1:] == ["1", "True"]


@needs_bubblewrap
def test_sandboxed_program_cannot_read_a_key_file_of_the_policy(
    user: Shell, tmp_path: Path
) -> None:
    key = Path(user.environment["HOME"], "openai.key")
    key.write_text("sk-real-key-of-the-owner")
    key.chmod(0o600)
    policy = user.home.policy
    policy.write_text(policy.read_text().replace("env: OPENAI_API_KEY", f"file: {key}"))

    tried = (
        "import sys\n"
        "try: print(open(sys.argv[1]).read())\n"
        "except PermissionError: print('kept out')\n"
    )

    assert run(user, *python(tried, str(key))) == ["kept out"]


@needs_bubblewrap
def test_sandboxed_program_reaches_no_network_but_the_proxy(user: Shell) -> None:
    tried = (
        "import socket, sys\n"
        "for host, port in (('127.0.0.1', int(sys.argv[1])), ('1.1.1.1', 443), ('10.0.0.1', 80)):\n"
        "    try: socket.create_connection((host, port), timeout=5); print('reached')\n"
        "    except OSError as error: print(type(error).__name__)\n"
    )
    with socket.create_server(("127.0.0.1", 0)) as other:
        lines = run(user, *python(tried, str(other.getsockname()[1])))

    assert lines == ["ConnectionRefusedError", "OSError", "OSError"]


@needs_bubblewrap
def test_socket_of_another_program_is_out_of_reach(user: Shell) -> None:
    path = Path(user.environment["HOME"], ".ssh", "agent")
    tried = (
        "import socket, sys\n"
        "try: socket.socket(socket.AF_UNIX).connect(sys.argv[1]); print('reached')\n"
        "except OSError as error: print(type(error).__name__)\n"
    )
    with socket.socket(socket.AF_UNIX) as engine:
        engine.bind(str(path))
        engine.listen()

        assert run(user, *python(tried, str(path))) == ["ConnectionRefusedError"]


@needs_bubblewrap
def test_sandboxed_program_writes_to_its_workspace_and_leaves_nothing_else(
    user: Shell, tmp_path: Path
) -> None:
    home, more = Path(user.environment["HOME"]), tmp_path / "more"
    more.mkdir()
    places = ["project/new", ".bashrc", ".ssh/config", ".claude/settings.json", "new"]
    paths = [*(str(home / place) for place in places), str(more / "new"), "/etc/tollkeeper-was-here",
             "/proc/sys/kernel/core_pattern"]  # fmt: skip
    tried = (
        "import sys\n"
        "for path in sys.argv[1:]:\n"
        "    try: open(path, 'w').write('changed'); print('written')\n"
        "    except OSError as error: print(type(error).__name__, error.errno)\n"
    )

    lines = run(user, *python(tried, *paths), options=("--writable", str(more)))

    assert lines == ["written", "written", "OSError 30", "written", "written", "written",
                     "OSError 30", "OSError 30"]  # fmt: skip
    assert (home / "project" / "new").read_text() == (more / "new").read_text() == "changed"
    assert (home / ".bashrc").read_text() == "# mine\n"
    assert (home / ".ssh" / "config").read_text() == "Host *\n"
    assert not (home / "new").exists()
    assert not (home / ".claude").exists()


@needs_bubblewrap
def test_signal_reaches_a_sandboxed_program_and_its_exit_code_comes_back(user: Shell) -> None:
    code = (
        "import signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *a: sys.exit(42))\n"
        "print('ready', flush=True)\n"
        "time.sleep(60)"
    )
    project = Path(user.environment["HOME"], "project")
    process = user.start(
        "run", "--sandbox", "--workspace", str(project), "--port", "0", "--", *python(code)
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"

    process.send_signal(signal.SIGTERM)

    process.communicate(timeout=90)
    assert process.returncode == 42


@needs_bubblewrap
def test_sandbox_ends_with_the_command_that_made_it(user: Shell) -> None:
    project = Path(user.environment["HOME"], "project")
    process = user.start(
        "run", "--sandbox", "--workspace", str(project), "--port", "0", "--",
        *python("import time; print('ready', flush=True); time.sleep(600)"),
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"

    process.kill()

    assert process.stdout.read() == ""  # its end: nobody inside holds the pipe any more


@needs_bubblewrap
@pytest.mark.parametrize("folder", ["", "..", "../home"])
def test_folder_that_would_open_the_sandbox_is_refused(user: Shell, folder: str) -> None:
    opened = Path(user.environment["HOME"], folder)

    done = user.run("run", "--sandbox", "--workspace", str(opened), "--port", "0", "--", "true")

    assert done.code == 1
    assert not user.home.process.exists()
    assert "which a sandbox must not write" in done.err


@needs_bubblewrap
@pytest.mark.parametrize("place", ["/", "/nonexistent"])
def test_sandbox_needs_a_home_folder_to_stand_in_for(
    ready: Shell, tmp_path: Path, place: str
) -> None:
    ready.environment["HOME"] = place

    done = ready.run(
        "run", "--sandbox", "--workspace", str(tmp_path / "lab"), "--port", "0", "--", "true"
    )

    assert done.code == 1
    assert f"HOME is {place}." in done.err


def test_machine_without_bubblewrap_is_told_what_to_install(user: Shell, tmp_path: Path) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "true").symlink_to(shutil.which("true") or "")
    project = Path(user.environment["HOME"], "project")
    user.environment["PATH"] = str(tools)

    done = user.run("run", "--sandbox", "--workspace", str(project), "--port", "0", "--", "true")

    assert done.code == 1
    assert not user.home.process.exists()
    assert "install the package `bubblewrap`" in done.err


def test_writable_folder_without_a_sandbox_is_wrong_usage(cli: Cli, home: Home) -> None:
    done = cli("run", "--writable", os.curdir, "--", "true")

    assert done.code == 2
    assert not home.root.exists()
