"""What every command opens: the state folder, the ledger, the policy in force."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tollkeeper.errors import UsageError
from tollkeeper.home import Home, operator_name
from tollkeeper_cli.levels import check_operator

if TYPE_CHECKING:
    from tollkeeper.domain import Policy
    from tollkeeper.ledger.sqlite import SqliteLedger

Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]

DEFAULT_AGENT = "local"
"""The agent of `init` and of `run` without --agent."""


def home() -> Home:
    """The state folder that the environment names."""
    return Home.default()


def made_home() -> Home:
    """The state folder, which must be there.

    Raises:
        UsageError: When `init` has not been here, or this user is kept out.
    """
    found = home()
    check_operator(found)
    if not found.exists():
        raise UsageError(f"No state in {found.root}: run `tollkeeper init` first.")
    return found


@contextmanager
def open_ledger(at: Home | None = None) -> Iterator[SqliteLedger]:
    """The ledger, closed again at the end.

    Raises:
        UsageError: When there is no state folder.
        LedgerError: When the file cannot be opened.
    """
    from tollkeeper.ledger.sqlite import SqliteLedger

    at = at or made_home()
    ledger = SqliteLedger(at.database, operator_key=at.read_operator_key())
    try:
        yield ledger
    finally:
        ledger.close()


def policy_path(at: Home) -> Path:
    """The running proxy's policy; without a proxy the state folder's."""
    from tollkeeper_cli.process import running

    process = running(at)
    return Path(process.policy) if process and process.policy else at.policy


def load_policy(at: Home) -> Policy:
    """The policy in force; its examples were tried when it was put in force.

    Raises:
        UsageError: When there is none.
        PolicyError: When it does not load.
    """
    from tollkeeper.policy.load import load

    path = policy_path(at)
    if not path.exists():
        raise UsageError(f"No policy at {path}: run `tollkeeper init` first.")
    return load(path, try_examples=False).policy


def operator() -> str:
    """Who acts, for the record."""
    return operator_name()
