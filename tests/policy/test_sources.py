from __future__ import annotations

from pathlib import Path

from policy.writing import Load, Problems
from tollkeeper.domain import Mount

PEM = "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n"


def test_key_file_is_found_beside_the_policy(load_text: Load, tmp_path: Path) -> None:
    key = tmp_path / "openai.key"
    key.write_text("secret")
    key.chmod(0o600)

    loaded = load_text("version: 1\nproviders: {openai: {key: {file: openai.key}}}\n")

    assert loaded.warnings == []
    assert loaded.policy.providers["openai"].key is not None
    assert loaded.policy.providers["openai"].key.file == str(key)


def test_key_file_that_others_may_read_is_a_warning(load_text: Load, tmp_path: Path) -> None:
    key = tmp_path / "openai.key"
    key.write_text("secret")
    key.chmod(0o644)

    [warning] = load_text("version: 1\nproviders: {openai: {key: {file: openai.key}}}\n").warnings

    assert (warning.line, warning.column) == (2, 34)
    assert "chmod 600" in warning.message


def test_key_file_must_be_a_file(problems_of: Problems) -> None:
    [found] = problems_of("version: 1\nproviders: {openai: {key: {file: .}}}\n")

    assert "expected a file that holds the key" in found


def test_trust_roots_are_found_beside_the_policy(load_text: Load, tmp_path: Path) -> None:
    (tmp_path / "lab.pem").write_text(PEM)

    policy = load_text(
        "version: 1\nproviders: {openai: {trust: lab.pem}}\n"
        "upstream: {proxy: 'http://proxy.example:3128', trust: lab.pem}\n"
    ).policy

    assert policy.providers["openai"].trust == str(tmp_path / "lab.pem")
    assert policy.upstream_trust == str(tmp_path / "lab.pem")
    assert policy.upstream_proxy == "http://proxy.example:3128"


def test_own_hosts_of_a_built_in_provider_are_added(load_text: Load) -> None:
    policy = load_text("version: 1\nproviders: {openai: {hosts: [gateway.corp.example]}}\n").policy

    assert policy.providers["openai"].hosts == ("api.openai.com", "gateway.corp.example")


def test_host_of_a_provider_that_is_not_read_may_be_claimed(load_text: Load) -> None:
    policy = load_text(
        "version: 1\nproviders:\n"
        "  mine: {hosts: [corp.eastus.inference.ml.azure.com], api: openai, prefix: /v1}\n"
    ).policy

    assert next(iter(policy.providers)) == "mine"
    assert policy.providers["mine"].mounts == (Mount("openai", "/v1", "bearer"),)


def test_host_that_a_pattern_governs_cannot_be_tunnelled(problems_of: Problems) -> None:
    [found] = problems_of("version: 1\nother_hosts: {tunnel: [corp.openai.azure.com]}\n")

    assert "always governed" in found


def test_deployment_runs_what_is_written_by_name_or_glob(load_text: Load) -> None:
    policy = load_text(
        "version: 1\nproviders: {azure: {deployments: {chat-prod: gpt-4o, 'mini-*': gpt-4o-mini}}}\n"
    ).policy

    assert policy.providers["azure"].deployments == {"chat-prod": "gpt-4o", "mini-*": "gpt-4o-mini"}


def test_deployment_runs_one_model(problems_of: Problems) -> None:
    [found] = problems_of("version: 1\nproviders: {azure: {deployments: {a: 'gpt-*'}}}\n")

    assert "a deployment runs one model" in found
