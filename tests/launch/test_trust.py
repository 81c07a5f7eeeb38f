"""A user's own roots, merged with ours."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from tollkeeper.launch.bundle import write_bundle
from tollkeeper.launch.ca import ensure_ca
from tollkeeper.launch.trust import Trust, trust_of


@pytest.fixture
def ours(tmp_path: Path) -> Trust:
    certificate = ensure_ca(tmp_path / "ours")
    bundle = tmp_path / "ours" / "bundle.pem"
    write_bundle(certificate, bundle)
    return Trust(bundle, certificate)


@pytest.fixture
def company(tmp_path: Path) -> Path:
    return ensure_ca(tmp_path / "company")


def trusts(file: Path, root: Path) -> bool:
    """Whether OpenSSL reads the whole file and finds the root in it."""
    context = ssl.create_default_context(cafile=str(file))
    der = ssl.PEM_cert_to_DER_cert(root.read_text())
    return der in context.get_ca_certs(binary_form=True)


def of(ours: Trust, **base: object) -> Trust:
    return trust_of({name: str(value) for name, value in base.items()}, ours.extra, ours.bundle)


def test_without_roots_of_the_users_own_nothing_is_written(ours: Trust) -> None:
    before = sorted(ours.bundle.parent.iterdir())

    assert of(ours) == of(ours, SSL_CERT_FILE=ours.bundle) == ours
    assert sorted(ours.bundle.parent.iterdir()) == before


@pytest.mark.parametrize("name", ["SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS", "REQUESTS_CA_BUNDLE"])
def test_a_companys_root_is_trusted_beside_ours_by_every_runtime(
    ours: Trust, company: Path, name: str
) -> None:
    made = of(ours, **{name: company})

    assert trusts(made.bundle, company)
    assert trusts(made.extra, company)
    assert trusts(made.bundle, ours.extra)
    assert trusts(made.extra, ours.extra)
    assert not trusts(ours.bundle, company)


def test_a_folder_of_roots_is_read_file_by_file(ours: Trust, company: Path, tmp_path: Path) -> None:
    folder = tmp_path / "roots"
    folder.mkdir()
    (folder / "README").write_text("no certificate")
    (folder / "company.pem").write_bytes(company.read_bytes())

    made = of(ours, SSL_CERT_DIR=f"{folder}:{tmp_path / 'missing'}")

    assert trusts(made.bundle, company)
    assert made.unread == (tmp_path / "missing",)


def test_a_program_started_by_an_agent_gets_the_same_files_again(
    ours: Trust, company: Path
) -> None:
    once = of(ours, SSL_CERT_FILE=company)

    assert of(ours, SSL_CERT_FILE=once.bundle, NODE_EXTRA_CA_CERTS=once.extra) == once


@pytest.mark.parametrize("content", ["", "no certificate", "-----BEGIN CERTIFICATE-----\nAAAA\n"])
def test_a_file_that_nobody_could_read_is_left_out_and_named(
    ours: Trust, tmp_path: Path, content: str
) -> None:
    broken = tmp_path / "broken.pem"
    broken.write_text(content)

    made = of(ours, SSL_CERT_FILE=broken)

    assert (made.bundle, made.extra, made.unread) == (ours.bundle, ours.extra, (broken,))


def test_a_private_key_beside_a_certificate_is_not_copied(ours: Trust, company: Path) -> None:
    made = of(ours, SSL_CERT_FILE=company.with_name("mitmproxy-ca.pem"))

    assert trusts(made.bundle, company)
    assert b"PRIVATE KEY" not in made.bundle.read_bytes() + made.extra.read_bytes()
