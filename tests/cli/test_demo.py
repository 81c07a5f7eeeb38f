from __future__ import annotations

from .conftest import Shell


def test_the_demo_goes_as_told(shell: Shell) -> None:
    shell.environment.pop("TOLLKEEPER_HOME")

    done = shell.run("demo")

    assert (done.code, done.err) == (0, "")
    assert "✗" not in done.out
    for shown in (
        "An allowed call",
        "402",
        "Held, then approved",
        "Held, then rejected",
        "The books balance",
    ):
        assert shown in done.out
