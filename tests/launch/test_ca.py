"""Our CA: what mitmproxy makes of it, and who accepts that."""

from __future__ import annotations

import datetime
import shutil
import socket
import ssl
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from mitmproxy.certs import CertStore

from tollkeeper.errors import UsageError
from tollkeeper.launch.bundle import system_roots, write_bundle
from tollkeeper.launch.ca import ensure_ca


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[Path, int]]:
    """A TLS server with a leaf that mitmproxy signed for api.openai.com with our CA."""
    certificate = ensure_ca(tmp_path / "ca")
    store = CertStore.from_store(tmp_path / "ca", "mitmproxy", 2048)
    entry = store.get_cert("api.openai.com", [x509.DNSName("api.openai.com")])
    key = entry.privatekey.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    pem = tmp_path / "leaf.pem"
    pem.write_bytes(key + entry.cert.to_pem())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                raw, _ = listener.accept()
            except OSError:
                return
            try:
                with context.wrap_socket(raw, server_side=True) as connection:
                    connection.recv(65536)
                    connection.sendall(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
            except OSError:
                continue

    threading.Thread(target=serve, daemon=True).start()
    yield certificate, listener.getsockname()[1]
    listener.close()


def test_strict_openssl_accepts_the_leaves_that_mitmproxy_signs(server):
    certificate, port = server
    context = ssl.create_default_context(cafile=certificate)
    context.verify_flags |= ssl.VERIFY_X509_STRICT

    with (
        socket.create_connection(("127.0.0.1", port)) as raw,
        context.wrap_socket(raw, server_hostname="api.openai.com") as connection,
    ):
        assert connection.version() == "TLSv1.3"


@pytest.mark.parametrize("curl", [p for p in ("curl",) if shutil.which(p)])
def test_curl_accepts_the_leaves_that_mitmproxy_signs(curl, server):
    certificate, port = server
    command = [curl, "-sS", "--noproxy", "*", "--cacert", str(certificate), "-w", "%{http_code}"]
    command += ["--resolve", f"api.openai.com:{port}:127.0.0.1", f"https://api.openai.com:{port}/"]

    done = subprocess.run(command, capture_output=True, text=True, timeout=90)

    assert done.stdout == "204", done.stderr


@pytest.mark.parametrize("node", [p for p in ("node",) if shutil.which(p)])
def test_node_accepts_the_leaves_that_mitmproxy_signs(node, server):
    certificate, port = server
    script = f"""
    const ca = require("fs").readFileSync({str(certificate)!r});
    const to = {{host: "127.0.0.1", port: {port}, servername: "api.openai.com", ca}};
    const socket = require("tls").connect(to, () => {{ console.log(socket.authorized); socket.destroy(); }});
    socket.on("error", e => console.log(e.code));
    """

    done = subprocess.run([node, "-e", script], capture_output=True, text=True, timeout=90)

    assert done.stdout.strip() == "true", done.stderr


def test_mitmproxy_finds_all_it_wants_and_writes_nothing_more(tmp_path):
    ensure_ca(tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}

    store = CertStore.from_store(tmp_path, "mitmproxy", 2048)

    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before
    assert isinstance(store.default_privatekey, ec.EllipticCurvePrivateKey)


def test_the_key_is_for_the_owner_alone(tmp_path):
    certificate = ensure_ca(tmp_path / "ca")

    assert stat.S_IMODE((tmp_path / "ca").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "ca" / "mitmproxy-ca.pem").stat().st_mode) == 0o600
    assert b"PRIVATE" not in certificate.read_bytes()


def test_every_installation_has_a_ca_of_its_own_name(tmp_path):
    names = {
        x509.load_pem_x509_certificate(ensure_ca(tmp_path / name).read_bytes())
        .subject.rfc4514_string()
        for name in ("one", "two")
    }  # fmt: skip

    assert len(names) == 2


def test_a_second_call_changes_nothing(tmp_path):
    first = ensure_ca(tmp_path).read_bytes()

    assert ensure_ca(tmp_path).read_bytes() == first


def test_processes_that_start_at_once_agree_on_one_ca(tmp_path):
    folder = tmp_path / "ca"
    script = "import sys, pathlib, tollkeeper.launch.ca as ca; sys.stdin.read();"
    script += f"print(ca.ensure_ca(pathlib.Path({str(folder)!r})).read_text())"
    command = [sys.executable, "-c", script]
    started = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(6)
    ]
    for process in started:
        process.stdin.close()

    made = {process.stdout.read().strip() for process in started}

    assert [process.wait() for process in started] == [0] * 6
    assert len(made) == 1
    assert made.pop() in (folder / "mitmproxy-ca.pem").read_text()
    assert sorted(p.name for p in folder.iterdir()) == [
        ".lock",
        "mitmproxy-ca-cert.pem",
        "mitmproxy-ca.pem",
        "mitmproxy-dhparam.pem",
    ]


def test_a_ca_that_is_about_to_expire_is_replaced(tmp_path):
    first = ensure_ca(tmp_path).read_bytes()
    now = datetime.datetime.now(datetime.UTC)

    assert ensure_ca(tmp_path, now + datetime.timedelta(days=5 * 365 - 31)).read_bytes() == first
    assert ensure_ca(tmp_path, now + datetime.timedelta(days=5 * 365 - 29)).read_bytes() != first


def test_a_missing_certificate_is_written_again_from_the_key_file(tmp_path):
    first = ensure_ca(tmp_path).read_bytes()
    (tmp_path / "mitmproxy-ca-cert.pem").unlink()

    assert ensure_ca(tmp_path).read_bytes() == first


@pytest.mark.parametrize("content", [b"", b"no pem at all", b"-----BEGIN CERTIFICATE-----\nxx\n"])
def test_a_damaged_ca_is_named_and_not_overwritten(tmp_path, content):
    damaged = tmp_path / "mitmproxy-ca.pem"
    damaged.write_bytes(content)

    with pytest.raises(UsageError, match=r"mitmproxy-ca\.pem is damaged"):
        ensure_ca(tmp_path)

    assert damaged.read_bytes() == content


def test_the_bundle_holds_the_public_roots_and_ours(tmp_path):
    certificate = ensure_ca(tmp_path / "ca")
    bundle = tmp_path / "bundle.pem"

    write_bundle(certificate, bundle)

    context = ssl.create_default_context(cafile=bundle)
    public = ssl.create_default_context(cafile=system_roots()[0])
    assert len(context.get_ca_certs()) == len(public.get_ca_certs()) + 1
    assert stat.S_IMODE(bundle.stat().st_mode) == 0o644


def test_the_bundle_follows_a_new_ca_and_is_otherwise_left_alone(tmp_path):
    bundle = tmp_path / "bundle.pem"
    write_bundle(ensure_ca(tmp_path / "one"), bundle)
    first, inode = bundle.read_bytes(), bundle.stat().st_ino

    write_bundle(ensure_ca(tmp_path / "one"), bundle)
    assert bundle.stat().st_ino == inode

    write_bundle(ensure_ca(tmp_path / "two"), bundle)
    assert bundle.read_bytes() != first


def test_roots_that_occur_twice_are_written_once(tmp_path):
    certificate = ensure_ca(tmp_path / "ca")
    bundle = tmp_path / "bundle.pem"

    write_bundle(certificate, bundle, roots=[certificate, certificate])

    assert bundle.read_bytes().count(b"BEGIN CERTIFICATE") == 1


def test_the_public_roots_are_found_whatever_the_environment_names(monkeypatch, tmp_path):
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ours-under-run.pem"))

    (roots,) = system_roots()

    assert roots.read_bytes().count(b"BEGIN CERTIFICATE") > 50
