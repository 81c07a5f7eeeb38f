"""One file of trust roots for clients that take a file instead of the system's: public roots and ours."""

from __future__ import annotations

import ssl
from collections.abc import Iterable
from pathlib import Path

import certifi

from tollkeeper.launch.replace import write_whole

_PEM_BEGINS = b"-----BEGIN CERTIFICATE-----"
_PEM_ENDS = b"-----END CERTIFICATE-----"

# Where distributions keep the public roots in one file.
# Source: https://go.dev/src/crypto/x509/root_linux.go
_SYSTEM_FILES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/tls/cacert.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
)


def write_bundle(ca_certificate: Path, bundle: Path, roots: Iterable[Path] | None = None) -> None:
    """Writes public roots and our CA to one file, and only when its content changes.

    Public roots stay in it, because what is tunnelled or goes direct is checked against them.

    Args:
        ca_certificate: Our CA's certificate.
        bundle: The file to write; readers see the old or the new one, never half.
        roots: Files of public roots; the system's when None.
    """
    seen: dict[bytes, None] = {}
    for path in (*(system_roots() if roots is None else roots), ca_certificate):
        seen.update(dict.fromkeys(certificates(path.read_bytes())))
    content = b"\n".join(seen) + b"\n"
    if not bundle.exists() or bundle.read_bytes() != content:
        write_whole(bundle, content, 0o644)


def system_roots() -> tuple[Path, ...]:
    """The system's file of public roots, certifi's when there is none.

    Variables are not asked: under ``tollkeeper run`` they name a bundle of our own.
    """
    named = ssl.get_default_verify_paths().openssl_cafile
    for path in (Path(named), *map(Path, _SYSTEM_FILES)):
        if path.is_file() and path.stat().st_size > 0:
            return (path,)
    return (Path(certifi.where()),)


def certificates(pem: bytes) -> list[bytes]:
    """Each certificate of a PEM file, without what stands between; its text is not checked."""
    blocks = pem.split(_PEM_BEGINS)[1:]
    return [
        _PEM_BEGINS + b"\n" + b"\n".join(block.partition(_PEM_ENDS)[0].split()) + b"\n" + _PEM_ENDS
        for block in blocks
    ]
