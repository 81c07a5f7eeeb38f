"""Our own certificate authority, in the layout that mitmproxy reads from its ``confdir``."""

from __future__ import annotations

import datetime
import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tollkeeper.errors import UsageError
from tollkeeper.launch.replace import write_whole

KEY_AND_CERTIFICATE = "mitmproxy-ca.pem"
CERTIFICATE = "mitmproxy-ca-cert.pem"
_DH_PARAMETERS = "mitmproxy-dhparam.pem"

_LIFETIME = datetime.timedelta(days=5 * 365)
_BACKDATED = datetime.timedelta(days=2)  # mitmproxy backdates its leaves by as much
_LEAF_LIFETIME = datetime.timedelta(days=1)
_RENEWED_BEFORE = datetime.timedelta(days=30)

# The group ffdhe2048, public and the same for everyone. mitmproxy writes a file of its own where
# it finds none, not atomically: two proxies that start at once could read half of it.
# Source: https://www.rfc-editor.org/rfc/rfc7919#appendix-A.1
_FFDHE2048 = b"""-----BEGIN DH PARAMETERS-----
MIIBCAKCAQEA//////////+t+FRYortKmq/cViAnPTzx2LnFg84tNpWp4TZBFGQz
+8yTnc4kmz75fS/jY2MMddj2gbICrsRhetPfHtXV/WVhJDP1H18GbtCFY2VVPe0a
87VXE15/V8k1mE8McODmi3fipona8+/och3xWKE2rec1MKzKT0g6eXq8CrGCsyT7
YdEIqUuyyOP7uWrat2DX9GgdT0Kj3jlN9K5W7edjcrsZCwenyO4KbXCeAvzhzffi
7MA0BM0oNC9hkXL+nOmFg/+OTxIy7vKBg8P+OxtMb61zO7X8vC7CIAXFjvGDfRaD
ssbzSibBsu/6iGtCOGEoXJf//////////wIBAg==
-----END DH PARAMETERS-----
"""


def ensure_ca(folder: Path, now: datetime.datetime | None = None) -> Path:
    """Makes the CA if there is none or it is about to expire; the certificate's path.

    May be called by many processes at once: one makes it, all find the same. The key is EC P-256
    (mitmproxy's leaves carry the key of their CA), the name unique, so that a browser or system
    store never mistakes the CA of one installation for another's.

    Args:
        folder: mitmproxy's ``confdir``; made with mode 0700 when missing.
        now: The time of day, for tests.

    Raises:
        UsageError: What is there cannot be read as a CA.
    """
    moment = now or datetime.datetime.now(datetime.UTC)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    both, certificate = folder / KEY_AND_CERTIFICATE, folder / CERTIFICATE
    with _alone(folder):
        if not (folder / _DH_PARAMETERS).exists():
            write_whole(folder / _DH_PARAMETERS, _FFDHE2048, 0o644)
        if not both.exists() or _read(both).not_valid_after_utc - moment < _RENEWED_BEFORE:
            write_whole(both, _make(moment), 0o600)
        pem = _read(both).public_bytes(serialization.Encoding.PEM)
        if not certificate.exists() or certificate.read_bytes() != pem:
            write_whole(certificate, pem, 0o644)
    return certificate


def leaf(folder: Path, name: str) -> bytes:
    """A key and a certificate of our CA for this host, for one day; PEM.

    Raises:
        UsageError: The CA cannot be read.
        OSError: It is not there.
    """
    both = folder / KEY_AND_CERTIFICATE
    authority = _read(both)
    signing = serialization.load_pem_private_key(both.read_bytes(), None)
    assert isinstance(signing, ec.EllipticCurvePrivateKey)
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.datetime.now(datetime.UTC)
    names = x509.SubjectAlternativeName([x509.DNSName(name)])
    issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(signing.public_key())
    certificate = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(authority.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _LEAF_LIFETIME)
        .not_valid_after(now + _LEAF_LIFETIME)
        .add_extension(names, critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(issuer, critical=False)
        .sign(signing, hashes.SHA256())
    )
    return _private(key) + certificate.public_bytes(serialization.Encoding.PEM)


def _read(path: Path) -> x509.Certificate:
    try:
        content = path.read_bytes()
        serialization.load_pem_private_key(content, None)
        return x509.load_pem_x509_certificate(content)
    except (ValueError, TypeError) as e:
        raise UsageError(
            f"{path} is damaged: remove it, and `tollkeeper init` makes a new CA."
        ) from e


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    handle = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _make(now: datetime.datetime) -> bytes:
    """Key and certificate, PEM, in mitmproxy's order."""
    key = ec.generate_private_key(ec.SECP256R1())
    common_name = f"Tollkeeper CA {secrets.token_hex(4)}"
    name = x509.Name(
        [
            x509.NameAttribute(NameOID.COMMON_NAME, common_name),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Tollkeeper"),
        ]
    )
    usage = x509.KeyUsage(
        digital_signature=False, content_commitment=False, key_encipherment=False,
        data_encipherment=False, key_agreement=False, key_cert_sign=True, crl_sign=True,
        encipher_only=False, decipher_only=False,
    )  # fmt: skip
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATED)
        .not_valid_after(now + _LIFETIME)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    return _private(key) + certificate.public_bytes(serialization.Encoding.PEM)


def _private(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
