"""Recipes: each is read by the tool that it is for, where that is found, and keeps its promises."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tollkeeper.policy.load import load
from tollkeeper_cli.deploy import RECIPES, text_of
from tollkeeper_cli.process import running

from .conftest import Cli, Shell, until


def tool(name: str) -> str:
    """Its path; the test is skipped, and says so, where the machine has none."""
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


def ran(*command: str, **more: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, capture_output=True, text=True, timeout=120, check=False,
        stdin=None if "input" in more else subprocess.DEVNULL, **more,
    )  # fmt: skip


def documents(name: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(text_of(name)))


def pod() -> dict[str, Any]:
    [found] = [one for one in documents("kubernetes") if one["kind"] == "StatefulSet"]
    spec: dict[str, Any] = found["spec"]["template"]["spec"]
    return spec


@pytest.mark.parametrize("recipe", RECIPES)
def test_recipe_is_printed_as_it_ships_and_says_how_to_use_it(cli: Cli, recipe: str) -> None:
    done = cli("deploy", recipe)

    assert done.code == 0
    assert done.out == text_of(recipe)
    assert f"tollkeeper deploy {recipe} >" in done.out
    assert "pip install tollkeeper" not in done.out


def test_unknown_recipe_is_told(cli: Cli) -> None:
    done = cli("deploy", "swarm")

    assert done.code == 2
    assert "kubernetes" in done.err


# ------------------------------------------------------------------ container


def instruction(name: str) -> Any:
    """The last instruction of this name in exec form."""
    found = re.findall(rf"^{name} (\[.*\])$", text_of("container"), re.MULTILINE)
    return json.loads(found[-1])


def test_containerfile_passes_its_linter(tmp_path: Path) -> None:
    path = tmp_path / "Containerfile"
    path.write_text(text_of("container"))

    done = ran(tool("hadolint"), str(path))

    assert done.returncode == 0, done.stdout


def test_container_runs_as_nobody_in_particular() -> None:
    users = re.findall(r"^USER (.+)$", text_of("container"), re.MULTILINE)

    assert users == ["10001:10001"]


def test_entrypoint_sets_up_hands_out_certificates_alone_and_serves_until_told_to_stop(
    shell: Shell, tmp_path: Path
) -> None:
    trust, bin_folder = tmp_path / "trust", tmp_path / "bin"
    trust.mkdir()
    bin_folder.mkdir()
    program = bin_folder / "tollkeeper"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m tollkeeper_cli "$@"\n')
    program.chmod(0o755)
    path = f"{bin_folder}{os.pathsep}{os.environ['PATH']}"
    entrypoint = [word.replace("/trust", str(trust)) for word in instruction("ENTRYPOINT")]
    words = ["--host", "127.0.0.1", "--port", "0", "--operator", "0", "--log-format", "json"]
    assert [word for word in instruction("CMD") if word.startswith("--")] == [
        word for word in words if word.startswith("--") and word != "--port"
    ]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}

    for _ in ("the first start", "a restart on the same volume"):
        with subprocess.Popen(
            [*entrypoint, *words], stdin=subprocess.DEVNULL,
            env=shell.environment | {"PATH": path}, **pipes,
        ) as process:  # fmt: skip
            found = until(lambda: running(shell.home))
            assert found.operator is not None
            process.send_signal(signal.SIGTERM)
            out, err = process.communicate(timeout=60)
        assert process.returncode == 0, err
        assert "tk_" not in out + err
        assert sorted(one.name for one in trust.iterdir()) == [
            "bundle.pem",
            "mitmproxy-ca-cert.pem",
        ]
        assert not any(b"PRIVATE" in one.read_bytes() for one in trust.iterdir())


# ------------------------------------------------------------------ compose


def test_agent_of_the_composition_has_no_way_out_and_sees_certificates_alone() -> None:
    [composition] = documents("compose")
    agent, proxy = composition["services"]["agent"], composition["services"]["tollkeeper"]

    assert agent["networks"] == ["inside"]
    assert composition["networks"]["inside"] == {"internal": True}
    assert agent["volumes"] == ["trust:/trust:ro"]
    assert "secrets" not in agent
    assert proxy["read_only"] is True
    for service in (agent, proxy):
        assert service["cap_drop"] == ["ALL"]
    assert "ports" not in proxy


# ------------------------------------------------------------------ systemd


@pytest.fixture
def unit(tmp_path: Path) -> str:
    """The unit, with a program that is there."""
    path = tmp_path / "tollkeeper.service"
    path.write_text(text_of("systemd").replace("/opt/tollkeeper/bin/tollkeeper", "/bin/true"))
    return str(path)


def test_unit_is_verified_by_systemd(unit: str) -> None:
    done = ran(tool("systemd-analyze"), "verify", unit)

    assert (done.returncode, done.stderr) == (0, "")


def test_unit_leaves_little_exposed(unit: str) -> None:
    done = ran(
        tool("systemd-analyze"), "security", "--offline=true", "--threshold=20", "--no-pager", unit
    )

    assert done.returncode == 0, done.stdout[-300:]


# ------------------------------------------------------------------ Kubernetes


def test_manifest_is_of_the_schemas_of_kubernetes(tmp_path: Path) -> None:
    path = tmp_path / "kubernetes.yaml"
    path.write_text(text_of("kubernetes"))

    done = ran(tool("kubernetes-validate"), "--strict", str(path))

    assert done.returncode == 0, done.stdout + done.stderr


def test_policy_of_the_manifest_loads(tmp_path: Path) -> None:
    [found] = [one for one in documents("kubernetes") if one["kind"] == "ConfigMap"]
    path = tmp_path / "policy.yaml"
    path.write_text(found["data"]["policy.yaml"])

    assert load(path).warnings == []


def test_only_the_proxys_container_has_state_and_keys_and_a_way_out() -> None:
    [closes, proxy], [agent] = pod()["initContainers"], pod()["containers"]

    assert proxy["restartPolicy"] == "Always"
    mounts = {one["name"] for one in agent["volumeMounts"]}
    assert mounts == {"trust"}
    assert all(one["readOnly"] for one in agent["volumeMounts"])
    assert "provider-keys" not in json.dumps(agent)
    proxys_user = proxy["securityContext"]["runAsUser"]
    assert f"meta skuid {proxys_user} accept" in closes["command"][1]
    assert agent["securityContext"]["runAsUser"] != proxys_user
    for one in (closes, proxy, agent):
        assert one["securityContext"]["capabilities"]["drop"] == ["ALL"]
        assert one["securityContext"]["allowPrivilegeEscalation"] is False
    assert agent["securityContext"]["runAsNonRoot"] is True


def test_probes_ask_for_what_the_operator_port_serves() -> None:
    proxy = pod()["initContainers"][1]
    asked = {
        kind: proxy[f"{kind}Probe"]["httpGet"]["path"]
        for kind in ("startup", "readiness", "liveness")
    }

    assert asked == {"startup": "/readyz", "readiness": "/readyz", "liveness": "/healthz"}
    [port] = proxy["ports"]
    assert f"--operator=0.0.0.0:{port['containerPort']}" in proxy["args"]


NETWORK = """\
set -e
ip link set lo up
ip link add inner type veth peer name outer
ip addr add 192.0.2.1/24 dev inner
ip link set inner up
ip link set outer up
nft "$0"
for user in 10001 10002; do
    for address in 192.0.2.9 127.0.0.1; do
        setpriv --reuid $user --regid $user --clear-groups \\
            bash -c "printf x > /dev/udp/$address/9" 2> /dev/null && echo "$user $address" || true
    done
done
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces are for root")
def test_rules_of_the_first_container_let_only_the_proxys_user_out() -> None:
    for needed in ("nft", "ip", "setpriv", "bash"):
        tool(needed)
    rules = pod()["initContainers"][0]["command"][1]

    done = ran(tool("unshare"), "--net", "sh", "-c", NETWORK, rules)

    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["10001 192.0.2.9", "10001 127.0.0.1", "10002 127.0.0.1"]
