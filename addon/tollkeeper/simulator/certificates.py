"""The lab's certificates: a CA of its own and a leaf for every name a client asks for."""

from __future__ import annotations

import datetime
import ipaddress
import os
import re
import secrets
import ssl
import tempfile
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_LIFETIME = datetime.timedelta(days=30)
_CLOCK_SKEW = datetime.timedelta(days=1)
_MOST_NAMES = 1000
_DNS_NAME = re.compile(r"[a-z0-9_]([a-z0-9_-]*[a-z0-9])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9])?)*")
_LOCAL = "localhost"


class LabAuthority:
    """Signs leaves for the simulated providers; trusted by nobody who is not told to.

    The key lives in memory only; ``certificate`` is the PEM file for a policy's ``trust:``.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.certificate = folder / "lab-ca.pem"
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._leaf_key = ec.generate_private_key(ec.SECP256R1())
        self._ca = self._sign_ca()
        self._contexts: dict[str, ssl.SSLContext] = {}
        handle, path = tempfile.mkstemp(dir=folder)
        with os.fdopen(handle, "wb") as file:
            file.write(self._ca.public_bytes(serialization.Encoding.PEM))
        os.replace(path, self.certificate)

    def server_context(self) -> ssl.SSLContext:
        """A TLS context that answers each client with a leaf for the name it asks for."""
        context = self._context(_LOCAL)
        context.sni_callback = self._choose
        return context

    def _choose(
        self, connection: ssl.SSLObject | ssl.SSLSocket, name: str | None, _: ssl.SSLContext
    ) -> None:
        asked = (name or _LOCAL).lower()
        connection.asked_name = asked  # type: ignore[union-attr]
        if _DNS_NAME.fullmatch(asked):
            connection.context = self._context(asked)

    def _context(self, name: str) -> ssl.SSLContext:
        if name not in self._contexts:
            if len(self._contexts) >= _MOST_NAMES:
                return self._contexts[_LOCAL]
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.set_alpn_protocols(["http/1.1"])
            key = self._leaf_key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
            with tempfile.NamedTemporaryFile() as file:
                file.write(key + self._sign_leaf(name).public_bytes(serialization.Encoding.PEM))
                file.flush()
                context.load_cert_chain(file.name)
            self._contexts[name] = context
        return self._contexts[name]

    def _sign_ca(self) -> x509.Certificate:
        name = x509.Name(
            [x509.NameAttribute(NameOID.COMMON_NAME, f"Tollkeeper lab {secrets.token_hex(4)}")]
        )
        return (
            _dated(x509.CertificateBuilder())
            .subject_name(name)
            .issuer_name(name)
            .public_key(self._key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_ca_key_usage(), critical=True)
            .add_extension(
                x509.SubjectKeyIdentifier.from_public_key(self._key.public_key()), critical=False
            )
            .sign(self._key, hashes.SHA256())
        )

    def _sign_leaf(self, name: str) -> x509.Certificate:
        names: list[x509.GeneralName] = [x509.DNSName(name)]
        if name == _LOCAL:
            names.append(x509.IPAddress(ipaddress.ip_address("127.0.0.1")))
        return (
            _dated(x509.CertificateBuilder())
            .subject_name(x509.Name([]))
            .issuer_name(self._ca.subject)
            .public_key(self._leaf_key.public_key())
            .add_extension(x509.SubjectAlternativeName(names), critical=True)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()),
                critical=False,
            )
            .sign(self._key, hashes.SHA256())
        )


def _dated(builder: x509.CertificateBuilder) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        builder.serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCK_SKEW)
        .not_valid_after(now + _LIFETIME)
    )


def _ca_key_usage() -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=True,
        encipher_only=False,
        decipher_only=False,
    )
