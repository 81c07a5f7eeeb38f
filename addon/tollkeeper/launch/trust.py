"""The roots that a child trusts: the public ones, our CA, and those that its user has set."""

from __future__ import annotations

import hashlib
import itertools
import ssl
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tollkeeper.launch.bundle import certificates
from tollkeeper.launch.replace import write_whole

ROOT_FILES = (
    "SSL_CERT_FILE",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "NODE_EXTRA_CA_CERTS",
    "GIT_SSL_CAINFO",
    "PIP_CERT",
    "AWS_CA_BUNDLE",
    "DENO_CERT",
    "CODEX_CA_CERTIFICATE",
)
"""Variables in which a company's own roots are handed to its programs, and which we overwrite."""

_MOST_FILES = 1000  # of a folder of roots; distributions keep some 300 there


@dataclass(frozen=True, slots=True)
class Trust:
    """Files of roots for one environment.

    Attributes:
        bundle: Public roots, our CA and the user's, for runtimes that replace their roots.
        extra: Our CA and the user's, for runtimes that add to their roots.
        unread: Files and folders that a variable names and that hold no readable certificate.
    """

    bundle: Path
    extra: Path
    unread: tuple[Path, ...] = ()


def trust_of(base: Mapping[str, str], ca_certificate: Path, bundle: Path) -> Trust:
    """The user's own roots merged with ours, beside the bundle; ours alone where there are none.

    Args:
        base: The environment that the child would have inherited.
        ca_certificate: Our CA.
        bundle: Public roots and our CA, as ``write_bundle`` makes it.
    """
    known = set(certificates(bundle.read_bytes()))
    own: dict[bytes, None] = {}
    unread: list[Path] = []
    for path in dict.fromkeys(_named(base)):
        found = [_readable(file) for file in _inside(path)] if path.is_dir() else [_readable(path)]
        own.update(dict.fromkeys(itertools.chain.from_iterable(found)))
        if not any(found):
            unread.append(path)
    more = [certificate for certificate in own if certificate not in known]
    if not more:
        return Trust(bundle, ca_certificate, tuple(unread))
    added = b"\n".join(more) + b"\n"
    name = hashlib.sha256(added + ca_certificate.read_bytes()).hexdigest()[:12]
    merged, extra = (bundle.with_name(f"{kind}-{name}.pem") for kind in ("bundle", "extra"))
    write_whole(merged, bundle.read_bytes() + added, 0o644)
    write_whole(extra, ca_certificate.read_bytes() + added, 0o644)
    return Trust(merged, extra, tuple(unread))


def _named(base: Mapping[str, str]) -> Iterator[Path]:
    """What the variables name: files, and folders of files."""
    for value in filter(None, (base.get(name) for name in ROOT_FILES)):
        yield Path(value)
    for value in filter(None, base.get("SSL_CERT_DIR", "").split(":")):
        yield Path(value)


def _inside(folder: Path) -> list[Path]:
    try:
        return [path for path in sorted(folder.iterdir()) if path.is_file()][:_MOST_FILES]
    except OSError:
        return []


def _readable(file: Path) -> list[bytes]:
    """The file's certificates; none of them when one is broken, which would spoil the bundle."""
    try:
        found = certificates(file.read_bytes())
        if found:
            text = b"\n".join(found).decode("ascii")
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=text)
    except (OSError, ValueError):
        return []
    return found
