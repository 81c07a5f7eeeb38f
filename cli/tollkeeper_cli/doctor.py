"""`doctor`: what is wrong with this installation, and the mend."""

from __future__ import annotations

import os
import socket
import ssl
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from tollkeeper.domain import NS_PER_SECOND
from tollkeeper.errors import TollkeeperError
from tollkeeper.home import Home, is_private
from tollkeeper_cli import levels, process, records, setup, state
from tollkeeper_cli.output import escape, paint, print_json
from tollkeeper_cli.state import Json
from tollkeeper_cli.units import now_ns

if TYPE_CHECKING:
    from tollkeeper.domain import Policy

OK: Final = "ok"
NOTE: Final = "note"
WRONG: Final = "wrong"
_COLOURS: Final = {OK: "32", NOTE: "33", WRONG: "31"}
_ASK_SECONDS: Final = 5.0
_LOOK_SECONDS: Final = 20.0
_TUNNELS_NS: Final = 7 * 86_400 * NS_PER_SECOND


@dataclass(frozen=True, slots=True)
class Found:
    """One thing looked at.

    Attributes:
        verdict: ``ok``, ``note`` (works, but know this) or ``wrong``.
        mend: What to do, where something is to be done.
    """

    verdict: str
    subject: str
    message: str
    mend: str | None = None


def doctor(
    json_: Json = False,
    probes: Annotated[
        bool, typer.Option(help="Try whether the runtimes of this machine obey the proxy.")
    ] = True,
) -> None:
    """Find what is wrong here, and how to mend it.

    Exit code 1 when something is wrong.
    """
    found = list(examine(state.home(), probes=probes))
    if json_:
        print_json(
            [{"verdict": f.verdict, "subject": f.subject, "message": f.message, "mend": f.mend}
             for f in found]
        )  # fmt: skip
    else:
        size = max(len(one.subject) for one in found)
        for one in found:
            mark = paint(f"{one.verdict:<5}", _COLOURS[one.verdict])
            print(f"{mark}  {one.subject:<{size}}  {escape(one.message)}")
            if one.mend:
                print(f"       {'':<{size}}  → {escape(one.mend)}")
    if any(one.verdict == WRONG for one in found):
        raise typer.Exit(1)


def examine(at: Home, *, probes: bool = True) -> Iterator[Found]:
    """Everything that can be looked at from here, in the order in which to mend it."""
    yield Found(OK, "python", f"{sys.version.split()[0]} at {sys.executable}")
    if levels.level(at) is levels.Level.OTHER_USER:
        yield Found(OK, "isolation", levels.explain(at))
        return
    levels.check_operator(at)
    if not at.exists():
        yield Found(WRONG, "state", f"none in {at.root}", "tollkeeper init")
        return
    yield from _rights(at)
    yield from _trust(at)
    yield from _policy(at)
    yield from _ledger(at)
    yield from _proxy(at)
    yield from _tunnels(at)
    yield from _environment(at)
    if probes and at.ca_certificate.exists() and at.bundle.exists():
        yield from _runtimes(at)
    yield Found(NOTE, "isolation", levels.explain(at))


def _rights(at: Home) -> Iterator[Found]:
    private = [at.root, at.ca, at.log.parent, at.spool, at.operator_key, at.database,
               at.ca / "mitmproxy-ca.pem"]  # fmt: skip
    bad = [path for path in private if path.exists() and not is_private(path)]
    if bad:
        names = " ".join(str(path) for path in bad)
        mend = f"chmod go-rwx {names}"
        if any(path.stat().st_uid != os.getuid() for path in bad):
            mend = f"chown {os.getuid()} {names} && {mend}"
        yield Found(WRONG, "state", f"others own, read or write {names}", mend)
    else:
        yield Found(OK, "state", f"{at.root}, for you alone")


def _trust(at: Home) -> Iterator[Found]:
    if not at.ca_certificate.exists() or not at.bundle.exists():
        yield Found(WRONG, "CA", "not made yet", "tollkeeper init")
        return
    from cryptography import x509

    pem = at.ca_certificate.read_bytes()
    try:
        ends = x509.load_pem_x509_certificate(pem).not_valid_after_utc
    except ValueError:
        yield Found(
            WRONG, "CA", f"{at.ca_certificate} is damaged", "remove the ca folder, tollkeeper init"
        )
        return
    if ends < datetime.now(UTC):
        yield Found(WRONG, "CA", f"expired on {ends:%Y-%m-%d}", "tollkeeper init")
        return
    if not _holds(at.bundle, pem):
        yield Found(WRONG, "CA", f"{at.bundle} does not hold it", "tollkeeper init")
        return
    yield Found(OK, "CA", f"holds until {ends:%Y-%m-%d}; the bundle holds it and the public roots")


def _holds(bundle: Path, pem: bytes) -> bool:
    """Whether Python's own ssl reads the bundle and finds the certificate in it."""
    try:
        context = ssl.create_default_context(cafile=str(bundle))
    except (ssl.SSLError, OSError):
        return False
    return ssl.PEM_cert_to_DER_cert(pem.decode("ascii")) in context.get_ca_certs(binary_form=True)


def _policy(at: Home) -> Iterator[Found]:
    from tollkeeper.policy.load import load

    path = state.policy_path(at)
    if not path.exists():
        yield Found(WRONG, "policy", f"none at {path}", "tollkeeper init")
        return
    try:
        loaded = load(path)
    except TollkeeperError as e:
        first, *more = str(e).splitlines()
        yield Found(
            WRONG, "policy", first + (f" (and {len(more)} more)" if more else ""),
            "tollkeeper policy check",
        )  # fmt: skip
        return
    for warning in loaded.warnings:
        yield Found(NOTE, "policy", str(warning))
    yield Found(OK, "policy", f"{path} ({loaded.policy.mode})")
    yield from _keys(at, loaded.policy)


def _keys(at: Home, policy: Policy) -> Iterator[Found]:
    """The real keys, looked for in the running proxy where the system shows its environment."""
    found = process.running(at)
    names = process.environment_names(found.pid) if found else None
    where = "in the proxy" if names is not None else "here"
    for provider, source, here in setup.keys(policy):
        there = source in names if names is not None and source.isidentifier() else here
        yield Found(
            OK if there else WRONG if found else NOTE, "key",
            f"{provider}: {source} is {'' if there else 'not '}set {where}",
            None if there else f"set {source} where the proxy is started",
        )  # fmt: skip


def _ledger(at: Home) -> Iterator[Found]:
    from tollkeeper.ledger.books import head

    yield from _spooled(at)
    try:
        with state.open_ledger(at) as ledger:
            end = head(ledger)
            whole = ledger.look_through(_LOOK_SECONDS)
    except TollkeeperError as e:
        yield Found(WRONG, "ledger", str(e))
        return
    looked = "" if whole else f", too many to look through in {_LOOK_SECONDS:.0f} s"
    yield Found(
        OK, "ledger", f"{end.seq} records{looked}; `tollkeeper audit verify` checks them all"
    )


def _spooled(at: Home) -> Iterator[Found]:
    """Records that the ledger could not take; a proxy takes them in as soon as it can be written."""
    from tollkeeper.ledger.spool import waiting

    if waiting(at.spool):
        yield Found(
            NOTE, "spool", f"{waiting(at.spool)} records wait for the ledger",
            "tollkeeper logs says why it could not be written; mended, the proxy takes them in",
        )  # fmt: skip


def _proxy(at: Home) -> Iterator[Found]:
    found = process.running(at)
    if found is None:
        taken = process.reachable("127.0.0.1", process.DEFAULT_PORT)
        mend = "tollkeeper up -p PORT" if taken else "tollkeeper up"
        also = f", and port {process.DEFAULT_PORT} belongs to another program" if taken else ""
        yield Found(NOTE, "proxy", f"does not run{also}", mend)
        return
    host, _, port = found.address.rpartition(":")
    answer = _ask(host.strip("[]"), int(port))
    if answer == "407":
        yield Found(OK, "proxy", f"listens on {found.address} and asks for credentials")
    else:
        said = f"answers {answer}" if answer else "does not answer"
        yield Found(WRONG, "proxy", f"{found.address} {said}", "tollkeeper logs")
    if found.host not in ("127.0.0.1", "::1", "localhost"):
        yield Found(NOTE, "proxy", f"{found.host} is reachable from other machines")


def _tunnels(at: Home) -> Iterator[Found]:
    """Which services of models agents have called past our reading, and how to mend that."""
    from tollkeeper import facts

    try:
        with state.open_ledger(at) as ledger:
            seen = records.tunnelled(ledger, now_ns() - _TUNNELS_NS)
    except TollkeeperError:
        return  # the ledger's own line has said so
    ai = {host: agents for host, agents in seen.items() if facts.is_ai_host(host)}
    for host, agents in ai.items():
        yield Found(
            NOTE, "tunnels", f"{escape(host)}: models, called undecrypted by {', '.join(agents)}",
            f"other_hosts: {{deny: [{escape(host)}]}}, or a provider of your own with an `api` it speaks",
        )  # fmt: skip
    if seen and not ai:
        yield Found(OK, "tunnels", f"{len(seen)} hosts in a week, none of models that we know")


def _ask(host: str, port: int) -> str | None:
    """The status of a CONNECT without credentials, which reaches nobody."""
    try:
        with socket.create_connection((host, port), timeout=_ASK_SECONDS) as connection:
            connection.sendall(
                b"CONNECT tollkeeper.invalid:443 HTTP/1.1\r\nHost: tollkeeper.invalid:443\r\n\r\n"
            )
            words = connection.recv(1024).split(b" ", 2)
    except OSError:
        return None
    return escape(words[1].decode("ascii", "replace")) if len(words) > 1 else "no HTTP"


def _environment(at: Home) -> Iterator[Found]:
    """Whether programs of this shell would go through the proxy and trust it."""
    proxy = os.environ.get("HTTPS_PROXY") or os.environ.get("https_proxy")
    if not proxy:
        yield Found(
            NOTE,
            "this shell",
            "goes past the proxy",
            'tollkeeper run, or eval "$(tollkeeper env NAME)"',
        )
        return
    bundle = os.environ.get("SSL_CERT_FILE")
    if bundle is None or not Path(bundle).is_file():
        yield Found(
            WRONG, "this shell", "SSL_CERT_FILE names no file", f"export SSL_CERT_FILE={at.bundle}"
        )
    elif not _holds(Path(bundle), at.ca_certificate.read_bytes()):
        yield Found(
            WRONG, "this shell", f"{bundle} lacks our CA", f"export SSL_CERT_FILE={at.bundle}"
        )
    else:
        yield Found(OK, "this shell", "goes through a proxy and trusts our CA")


def _runtimes(at: Home) -> Iterator[Found]:
    """Each runtime of this machine, asked to go through a proxy of our own as `run` would have it."""
    from tollkeeper.launch.probe import SECONDS, probe
    from tollkeeper.launch.trust import trust_of

    trust = trust_of(os.environ, at.ca_certificate.absolute(), at.bundle.absolute())
    try:
        found = probe(os.environ, ca=at.ca, bundle=trust.bundle, extra=trust.extra)
    except OSError as e:
        yield Found(NOTE, "runtimes", f"could not be tried: {e}")
        return
    for one in found:
        name, version = one.runtime.key, one.version
        if one.trusted:
            yield Found(OK, name, f"{version}: obeys the proxy, trusts the CA")
        elif one.proxied:
            yield Found(
                WRONG, name, f"{version}: obeys the proxy, does not trust the CA",
                f"make it read {trust.bundle}",
            )  # fmt: skip
        elif not one.ended:
            yield Found(NOTE, name, f"{version}: did not answer in {SECONDS:.0f} s")
        else:
            yield Found(NOTE, name, f"{version}: goes past the proxy", one.runtime.past)
