from __future__ import annotations

import json
import re
import stat
from pathlib import Path

import pytest

from tollkeeper.core.identity import token_sha256
from tollkeeper.home import Home
from tollkeeper.ledger.sqlite import SqliteLedger
from tollkeeper.policy.ready_made import NAMES, ready_made
from tollkeeper.policy.schema import json_schema
from tollkeeper_cli.setup import find_policy

from .conftest import Cli


def test_init_makes_everything_for_the_owner_alone(cli: Cli, home: Home) -> None:
    done = cli("init")

    assert (done.code, done.err) == (0, "")
    assert home.policy.read_bytes() == ready_made()["starter"].read_bytes()
    assert json.loads((home.root / "schema.json").read_text()) == json_schema()
    for path in (home.root, home.ca, home.operator_key, home.database, home.policy):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path
    assert b"BEGIN CERTIFICATE" in home.bundle.read_bytes()


def test_a_folder_that_others_may_enter_is_told_of(cli: Cli, home: Home) -> None:
    home.root.mkdir(mode=0o755)

    first = cli("init")
    home.root.chmod(0o700)
    second = cli("init")

    assert first.err.startswith(f"warning: others may enter {home.root}: ")
    assert (first.code, second.code, second.err) == (0, 0, "")


def test_init_prints_two_lines_to_export_that_hold(cli: Cli, home: Home) -> None:
    done = cli("init")

    [proxy] = re.findall(r"^  export HTTPS_PROXY=http://(.+)@127\.0\.0\.1:8080$", done.out, re.M)
    [bundle] = re.findall(r"^  export SSL_CERT_FILE=(.+)$", done.out, re.M)
    agent, token = proxy.split(":")
    assert SqliteLedger(home.database).identify(agent, token_sha256(token)) is not None
    assert Path(bundle) == home.bundle


def test_init_again_keeps_what_is_there_and_shows_no_token(cli: Cli, home: Home) -> None:
    cli("init")
    home.policy.write_text("version: 1\n")
    before = (home.operator_key.read_bytes(), home.ca_certificate.read_bytes())

    done = cli("init", "--policy", "lockdown")

    assert "kept as it is" in done.out
    assert "tk_" not in done.out
    assert 'eval "$(tollkeeper env local)"' in done.out
    assert home.policy.read_text() == "version: 1\n"
    assert (home.operator_key.read_bytes(), home.ca_certificate.read_bytes()) == before


@pytest.mark.parametrize("name", NAMES)
def test_every_ready_made_policy_can_be_taken(name: str) -> None:
    assert find_policy(name).is_file()


def test_init_tells_which_keys_are_there(
    cli: Cli, home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = tmp_path / "own.yaml"
    own.write_text(
        "version: 1\nproviders:\n  openai: {key: {env: KEY_ONE}}\n  groq: {key: {env: KEY_TWO}}\n"
    )
    monkeypatch.setenv("KEY_ONE", "sk-secret-of-mine")

    done = cli("init", "--policy", str(own))

    assert "key      openai: KEY_ONE is set\n" in done.out
    assert "key      groq: KEY_TWO is not set\n" in done.out
    assert "sk-secret" not in done.out


def test_an_unknown_policy_makes_nothing(cli: Cli, home: Home) -> None:
    done = cli("init", "--policy", "nonsense")

    assert done.code == 1
    assert "starter" in done.err
    assert not home.root.exists()


def test_a_policy_that_does_not_load_makes_nothing(cli: Cli, home: Home, tmp_path: Path) -> None:
    bad = tmp_path / "bad.yaml"
    bad.write_text("version: 2\n")

    assert cli("init", "--policy", str(bad)).code == 1
    assert not home.root.exists()
