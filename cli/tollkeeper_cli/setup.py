"""`init`: the state folder, the CA, a policy, and how to begin."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from tollkeeper.core.snapshot import AgentRecord
from tollkeeper.errors import UsageError
from tollkeeper.home import Home, is_private
from tollkeeper_cli import agent as agents
from tollkeeper_cli import process, state
from tollkeeper_cli.output import escape, say
from tollkeeper_cli.units import now_ns

if TYPE_CHECKING:
    from tollkeeper.domain import Policy

STARTER: Final = "starter"


def init(
    policy: Annotated[
        str, typer.Option(metavar="NAME", help="A ready-made policy, or a file to copy.")
    ] = STARTER,
) -> None:
    """Set up: state folder, CA, policy, first agent.

    What is there already is kept.
    """
    from tollkeeper.policy.load import load

    at = state.home()
    source = find_policy(policy)
    loaded = load(source).policy
    at.make()
    make_trust(at)
    _warn_of_others(at)
    kept = at.policy.exists()
    write_schema(at)
    if not kept:
        write_policy(at, source)
    print(f"state    {escape(at.root)}")
    print(f"policy   {escape(at.policy)} ({'kept as it is' if kept else source.stem})")
    print(f"CA       {escape(at.ca_certificate)}")
    for line in key_lines(state.load_policy(at) if kept else loaded):
        print(line)
    _print_exports(at)


def _warn_of_others(at: Home) -> None:
    if not is_private(at.root):
        say(
            f"warning: others may enter {escape(at.root)}: make it yours alone (chown, chmod go-rwx)."
        )


def make_trust(at: Home) -> None:
    """The CA and the bundle, made or renewed."""
    from tollkeeper.launch.bundle import write_bundle
    from tollkeeper.launch.ca import ensure_ca

    ensure_ca(at.ca)
    write_bundle(at.ca_certificate, at.bundle)


def make_state(at: Home, policy: Path | None = None) -> bool:
    """What `run` needs to begin; True when there was no state folder."""
    new = not at.exists()
    at.make()
    make_trust(at)
    if new:
        _warn_of_others(at)
    if policy is None and not at.policy.exists():
        write_schema(at)
        write_policy(at, find_policy(STARTER))
    return new


def write_policy(at: Home, source: Path) -> None:
    """A copy of a policy."""
    at.policy.write_bytes(source.read_bytes())
    at.policy.chmod(0o600)


def write_schema(at: Home) -> None:
    """What editors complete and check the policy by, as this release has it, beside the policy."""
    from tollkeeper.policy.ready_made import schema_file

    schema = at.policy.parent / "schema.json"
    schema.write_bytes(schema_file().read_bytes())
    schema.chmod(0o600)


def find_policy(name: str) -> Path:
    """A ready-made policy by its name, or a file.

    Raises:
        UsageError: When there is neither.
    """
    from tollkeeper.policy.ready_made import ready_made

    known = ready_made()
    if name in known:
        return known[name]
    if Path(name).is_file():
        return Path(name)
    raise UsageError(f"No ready-made policy and no file {name!r}: there are {', '.join(known)}.")


def key_lines(policy: Policy) -> list[str]:
    """For each real key that the policy names: whether it is there."""
    lines = []
    for provider, source, found in keys(policy):
        lines.append(f"key      {escape(provider)}: {source} is {'set' if found else 'not set'}")
    return lines or ["key      none in the policy: agents use their own"]


def keys(policy: Policy) -> list[tuple[str, str, bool]]:
    """``(provider, where its key is read from, whether it is there)``."""
    found = []
    for provider in policy.providers.values():
        if provider.key is None:
            continue
        if provider.key.env is not None:
            found.append((provider.name, provider.key.env, bool(os.environ.get(provider.key.env))))
        elif provider.key.file is not None:
            found.append((provider.name, provider.key.file, Path(provider.key.file).is_file()))
    return found


def _print_exports(at: Home) -> None:
    print()
    with state.open_ledger(at) as ledger:
        known = any(a.name == state.DEFAULT_AGENT and a.state != "deleted" for a in ledger.agents())
        if known:
            print("Start the proxy with `tollkeeper up`, then in the agent's shell:")
            print(f'  eval "$(tollkeeper env {state.DEFAULT_AGENT})"')
            return
        ledger.create_agent(
            AgentRecord(state.DEFAULT_AGENT, "active", created_ns=now_ns()), state.operator()
        )
        token, _ = agents.mint(ledger, state.DEFAULT_AGENT)
    found = process.running(at)
    address = found.address if found else f"127.0.0.1:{process.DEFAULT_PORT}"
    print(
        f"Agent {state.DEFAULT_AGENT!r} is made; its token is shown only here. Start the proxy with"
    )
    print("`tollkeeper up`, then in the agent's shell:")
    print(f"  export HTTPS_PROXY=http://{state.DEFAULT_AGENT}:{token}@{address}")
    print(f"  export SSL_CERT_FILE={shlex.quote(str(at.bundle.absolute()))}")
    print("Or let Tollkeeper do both: tollkeeper run -- CMD")
