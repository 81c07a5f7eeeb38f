"""The few exceptions. Expected outcomes (a denial, a hold) are values and never raised.

    TollkeeperError
    ├── PolicyError      the owner's YAML is wrong: every problem at once, each with its position
    ├── WireError        a request, answer or event that cannot be read as its dialect
    ├── LedgerError      the books cannot be read or written: disk full, corrupt, wrong version
    │   └── LedgerBusy   another process holds the write lock: try again in a moment
    ├── ApprovalError    a verdict that cannot be given: unknown id, ambiguous prefix, decided already
    ├── StatementError   a provider's usage file that cannot be read
    └── UsageError       the person asked for something that is not there or cannot be done

They are translated once per edge: by ``fail_closed`` in the proxy and by ``main`` in the CLI.
"""

from __future__ import annotations

from dataclasses import dataclass


class TollkeeperError(Exception):
    """What all of ours descend from; its text is one line that a person can act on."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong in a policy file.

    Attributes:
        path: The file as the owner named it.
        line: 1-based; 0 when the problem has no place in the file.
        column: 1-based; 0 when the problem has no place in the file.
        message: What was expected, what was found, what to do.
        warning: True when the policy still loads.
    """

    path: str
    line: int
    column: int
    message: str
    warning: bool = False

    def __str__(self) -> str:
        place = f"{self.path}:{self.line}:{self.column}" if self.line else self.path
        return f"{place}: {'warning: ' if self.warning else ''}{self.message}"


class PolicyError(TollkeeperError):
    """A policy that does not load; carries every problem found, in file order."""

    def __init__(self, problems: list[Problem]) -> None:
        self.problems = problems
        super().__init__("\n".join(str(p) for p in problems))


class WireError(TollkeeperError):
    """Bytes that cannot be read as what they claim to be."""


class LedgerError(TollkeeperError):
    """The books cannot be read or written; nothing may pass."""


class LedgerBusy(LedgerError):
    """Another process is writing; the same call may succeed a millisecond later."""


class LedgerRefusal(LedgerError):
    """What the ledger never takes, however often it is tried: a value it cannot hold, an unknown call."""


class ApprovalError(TollkeeperError):
    """A verdict that cannot be given."""


class UsageError(TollkeeperError):
    """Something was asked for that does not exist or cannot be done."""


class StatementError(TollkeeperError):
    """A provider's usage file that cannot be read; its text begins with the place."""
