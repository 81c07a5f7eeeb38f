from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from e2e.world import unused_port
from tollkeeper.launch import inside


def start(path: Path, port: int, signals: int, *command: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-I", inside.__file__, str(port), str(path), str(signals), *command],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, pass_fds=[signals],
        start_new_session=True,
    )  # fmt: skip


@pytest.fixture
def port() -> int:
    return unused_port()


@pytest.fixture
def pipe() -> tuple[int, int]:
    return os.pipe()


def end(process: subprocess.Popen[str]) -> tuple[str, str]:
    """What it said; the process that leads connections out goes with it, as in a sandbox."""
    try:
        process.wait(timeout=90)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
    return process.communicate(timeout=90)


def test_connection_to_the_port_comes_out_of_the_socket(
    tmp_path: Path, port: int, pipe: tuple[int, int]
) -> None:
    with socket.socket(socket.AF_UNIX) as outside:
        outside.bind(str(tmp_path / "proxy"))
        outside.listen()

        def answer() -> None:
            with outside.accept()[0] as connection:
                connection.sendall(connection.recv(100).upper())

        threading.Thread(target=answer, daemon=True).start()
        tried = (
            "import socket, sys; s = socket.create_connection(('127.0.0.1', int(sys.argv[1])));"
            "s.sendall(b'hello'); print(s.recv(100))"
        )
        process = start(tmp_path / "proxy", port, pipe[0], sys.executable, "-c", tried, str(port))

        assert end(process)[0] == "b'HELLO'\n"


def test_signals_of_the_pipe_reach_the_program(
    tmp_path: Path, port: int, pipe: tuple[int, int]
) -> None:
    waits = (
        "import signal, time; signal.signal(signal.SIGTERM, lambda *a: exit(42));"
        "print('ready', flush=True); time.sleep(60)"
    )
    process = start(tmp_path / "proxy", port, pipe[0], sys.executable, "-c", waits)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"

    os.write(pipe[1], bytes([signal.SIGTERM]))

    end(process)
    assert process.returncode == 42


@pytest.mark.parametrize(("name", "code"), [("no-such-program", 127), ("/", 126)])
def test_what_cannot_be_run_ends_like_in_a_shell(
    tmp_path: Path, port: int, pipe: tuple[int, int], name: str, code: int
) -> None:
    process = start(tmp_path / "proxy", port, pipe[0], name)

    _, err = end(process)

    assert process.returncode == code
    assert "cannot be run here" in err
