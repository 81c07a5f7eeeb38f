from __future__ import annotations

import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tollkeeper.home import Home
from tollkeeper.ledger.sqlite import SqliteLedger

from .conftest import Cli


def found(cli: Cli) -> dict[str, dict[str, Any]]:
    return {one["subject"]: one for one in cli("doctor", "--no-probes", "--json").data}


def test_a_fresh_installation_has_nothing_wrong(cli: Cli, home: Home) -> None:
    cli("init")

    done = cli("doctor", "--no-probes")

    assert done.code == 0
    assert not any(line.startswith("wrong") for line in done.lines)
    seen = found(cli)
    assert {
        name: seen[name]["verdict"] for name in ("state", "CA", "policy", "ledger")
    } == dict.fromkeys(("state", "CA", "policy", "ledger"), "ok")
    assert seen["proxy"]["mend"].startswith("tollkeeper up")
    assert seen["isolation"]["message"].startswith("same-user")


def test_models_that_are_called_undecrypted_are_named_with_a_mend(cli: Cli, home: Home) -> None:
    cli("init")
    with closing(SqliteLedger(home.database)) as ledger:
        ledger.record("tunnelled", "atlas", {"host": "github.com"}, time.time_ns())
        assert found(cli)["tunnels"]["verdict"] == "ok"
        ledger.record("tunnelled", "atlas", {"host": "api.replicate.com"}, time.time_ns())
        ledger.record("tunnelled", "scout", {"host": "api.replicate.com"}, time.time_ns())
        ledger.record(
            "tunnelled", "atlas", {"host": "fal.run"}, time.time_ns() - 8 * 86_400 * 10**9
        )

    one = found(cli)["tunnels"]
    assert one["verdict"] == "note"
    assert one["message"] == "api.replicate.com: models, called undecrypted by atlas, scout"
    assert "deny: [api.replicate.com]" in one["mend"]


def test_without_a_state_folder_it_says_how_to_begin(cli: Cli, home: Home) -> None:
    done = cli("doctor", "--json")

    assert done.code == 1
    assert done.data[-1]["mend"] == "tollkeeper init"


def test_open_rights_are_wrong_and_the_mend_mends_them(cli: Cli, home: Home) -> None:
    cli("init")
    home.operator_key.chmod(0o644)

    one = found(cli)["state"]
    assert (one["verdict"], one["mend"]) == ("wrong", f"chmod go-rwx {home.operator_key}")

    home.operator_key.chmod(0o600)
    assert found(cli)["state"]["verdict"] == "ok"


def test_a_bundle_without_our_ca_is_wrong(cli: Cli, home: Home) -> None:
    cli("init")
    home.bundle.write_text("")

    assert found(cli)["CA"]["verdict"] == "wrong"


def test_a_broken_policy_is_wrong(cli: Cli, home: Home) -> None:
    cli("init")
    home.policy.write_text("version: 1\nagnets: {}\n")

    one = found(cli)["policy"]
    assert one["verdict"] == "wrong"
    assert "policy.yaml:2:1" in one["message"]


@pytest.mark.parametrize(("bundle", "verdict"), [(None, "wrong"), ("ours", "ok")])
def test_a_shell_that_goes_through_a_proxy_must_trust_our_ca(
    cli: Cli, home: Home, monkeypatch: pytest.MonkeyPatch, bundle: str | None, verdict: str
) -> None:
    cli("init")
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:8080")
    if bundle:
        monkeypatch.setenv("SSL_CERT_FILE", str(home.bundle))

    assert found(cli)["this shell"]["verdict"] == verdict


def test_the_runtimes_of_this_machine_are_tried_as_run_would_have_them(
    cli: Cli, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    cli("init")
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:/usr/bin:/bin")

    seen = {one["subject"]: one for one in cli("doctor", "--json").data}

    assert seen["python3-urllib"]["verdict"] == "ok"
    assert seen["python3-urllib"]["message"].endswith("obeys the proxy, trusts the CA")
    assert all(one["mend"] for one in seen.values() if "goes past" in one["message"])
