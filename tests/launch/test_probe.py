"""Probes of real runtimes, well-behaved and not."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tollkeeper.launch.bundle import write_bundle
from tollkeeper.launch.ca import ensure_ca
from tollkeeper.launch.probe import Probed, probe
from tollkeeper.launch.runtimes import HOST, NOT_THERE, RUNTIMES, Runtime

URLLIB = f"import urllib.request as u; u.urlopen('https://{HOST}/', timeout=8)"
BASE = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "HOME": "/nonexistent"}


def python(code: str, **settings: str) -> Runtime:
    words = (sys.executable, "-c", code)
    return Runtime("mine", words, (sys.executable, "--version"), "mend it", settings)


@pytest.fixture
def ca(tmp_path: Path) -> Path:
    ensure_ca(tmp_path / "ca")
    write_bundle(tmp_path / "ca" / "mitmproxy-ca-cert.pem", tmp_path / "ca" / "bundle.pem")
    return tmp_path / "ca"


def tried(ca: Path, *runtimes: Runtime, seconds: float = 10, **base: str) -> list[Probed]:
    return probe(
        BASE | base, ca=ca, bundle=ca / "bundle.pem", extra=ca / "mitmproxy-ca-cert.pem",
        runtimes=runtimes, seconds=seconds,
    )  # fmt: skip


def test_a_program_that_obeys_is_seen_in_the_tunnel_and_inside(ca: Path) -> None:
    [found] = tried(ca, python(URLLIB), NO_PROXY="*", SSL_CERT_FILE="/nowhere")

    assert (found.proxied, found.trusted, found.ended) == (True, True, True)
    assert found.version.startswith("Python 3.")


def test_a_program_that_goes_past_is_not_seen_at_all(ca: Path) -> None:
    [found] = tried(ca, python(URLLIB, no_proxy="*", NO_PROXY="*"))

    assert (found.proxied, found.trusted, found.ended) == (False, False, True)


def test_a_program_that_does_not_trust_the_ca_is_seen_in_the_tunnel_only(ca: Path) -> None:
    public = ca.parent / "public.pem"
    ensure_ca(ca.parent / "other")
    shutil.copy(ca.parent / "other" / "mitmproxy-ca-cert.pem", public)

    [found] = tried(ca, python(URLLIB, SSL_CERT_FILE=str(public)))

    assert (found.proxied, found.trusted) == (True, False)


def test_a_probe_that_hangs_is_ended_with_its_children(ca: Path, tmp_path: Path) -> None:
    note = tmp_path / "child"
    code = f"import subprocess as s; p = s.Popen(['sleep', '60']); open({str(note)!r}, 'w').write(str(p.pid)); p.wait()"

    [found] = tried(ca, python(code), seconds=3)

    assert not found.ended
    state = subprocess.run(
        ["ps", "-o", "stat=", "-p", note.read_text()], capture_output=True, text=True
    )
    assert state.stdout.strip() in ("", "Z", "Z+")


def test_what_is_not_installed_is_not_in_the_list(ca: Path) -> None:
    missing = Runtime("gone", ("no-such-program-anywhere",), ("no-such-program-anywhere",), "")

    assert tried(ca, missing, python(f"raise SystemExit({NOT_THERE})")) == []


@pytest.mark.parametrize(
    "key", ["python3-urllib", "python3-requests", "python3-httpx2", "curl", "git"]
)
def test_what_this_machine_has_obeys_and_trusts(ca: Path, key: str) -> None:
    found = tried(ca, *(one for one in RUNTIMES if one.key == key))

    assert all(one.proxied and one.trusted and one.version for one in found)
