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
        "✓ 5. A call that a rule holds",
        "✓ 6. A person approves it",
        "✓ 7. The call goes on",
        "✓ 10. The agent is told why not",
        "The books balance",
    ):
        assert shown in done.out
