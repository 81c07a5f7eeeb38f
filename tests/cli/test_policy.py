from __future__ import annotations

import json
from pathlib import Path

import pytest
from mitmproxy import io
from mitmproxy.test import tflow, tutils

from tollkeeper.home import Home
from tollkeeper.policy.schema import json_schema

from .conftest import POLICY, Cli


def test_check_says_that_a_policy_loads_and_what_is_in_it(cli: Cli, made: Home) -> None:
    done = cli("policy", "check")

    assert (done.code, done.err) == (0, "")
    assert done.out == f"{made.policy} loads: 2 agents, 1 team, 1 rule, 1 example; mode enforce.\n"


def test_test_says_that_every_example_comes_out(cli: Cli, made: Home) -> None:
    done = cli("policy", "test")

    assert (done.code, done.err) == (0, "")
    assert done.lines[-1] == "Every example comes out as it says."
    assert cli("policy", "test", "--json").data["examples"] == 1


def test_check_says_everything_that_is_wrong_with_its_place(cli: Cli, tmp_path: Path) -> None:
    bad = tmp_path / "bad.yaml"
    bad.write_text("version: 1\nagnets: {}\nmode: loud\n")

    done = cli("policy", "check", str(bad))

    assert done.code == 1
    assert [line.split(": ")[0] for line in done.lines] == [f"{bad}:2:1", f"{bad}:3:7"]
    assert "did you mean 'agents'?" in done.out
    problems = cli("policy", "check", str(bad), "--json").data["problems"]
    assert [(one["line"], one["column"]) for one in problems] == [(2, 1), (3, 7)]


def test_a_broken_example_is_found_by_check_and_test(cli: Cli, tmp_path: Path) -> None:
    bad = tmp_path / "bad.yaml"
    bad.write_text(POLICY.replace("effect: allow", "effect: deny"))

    for verb in ("check", "test"):
        done = cli("policy", verb, str(bad))
        assert done.code == 1
        assert "expected deny" in done.out


def test_explain_names_the_rule_and_the_cost(cli: Cli, made: Home, tmp_path: Path) -> None:
    request = tmp_path / "request.yaml"
    request.write_text("{agent: atlas, call: {model: gpt-4o, prompt: please hold me}}")

    done = cli("policy", "explain", str(request))

    assert done.code == 0
    assert "effect         hold" in done.lines
    assert any(line.startswith("- rules.dear: ") for line in done.lines)
    data = cli("policy", "explain", str(request), "--json").data
    assert (data["effect"], data["rules"]) == ("hold", ["dear"])
    assert float(data["costs_at_most_usd"]) > 0


def test_explain_says_no_with_its_exit_code(cli: Cli, made: Home, tmp_path: Path) -> None:
    request = tmp_path / "request.json"
    request.write_text(json.dumps({"agent": "atlas", "call": {"model": "o3", "prompt": "x"}}))

    done = cli("policy", "explain", str(request))

    assert done.code == 1
    assert "- agents.atlas.models: " in done.out


def test_explain_asks_another_policy_when_told(cli: Cli, home: Home, tmp_path: Path) -> None:
    request, policy = tmp_path / "request.json", tmp_path / "other.yaml"
    request.write_text(json.dumps({"agent": "atlas", "call": {"model": "o3", "prompt": "x"}}))
    policy.write_text("version: 1\n")

    assert cli("policy", "explain", str(request), "--policy", str(policy)).code == 0
    assert cli("policy", "explain", str(tmp_path / "none"), "--policy", str(policy)).code == 1


def test_explain_names_the_limit_that_cuts_outgrown_streams(
    cli: Cli, home: Home, tmp_path: Path
) -> None:
    request, policy = tmp_path / "request.json", tmp_path / "other.yaml"
    request.write_text(json.dumps({"agent": "atlas", "call": {"model": "gpt-4o", "prompt": "x"}}))
    policy.write_text("version: 1\nagents: {atlas: {on_overrun: cut, max_output_tokens: 5}}\n")

    done = cli("policy", "explain", str(request), "--policy", str(policy))

    assert any(line.endswith("  agents.atlas.on_overrun") for line in done.lines), done.out


@pytest.fixture
def flows(tmp_path: Path) -> Path:
    path = tmp_path / "flows"
    with path.open("wb") as file:
        writer = io.FlowWriter(file)
        for host, prompt in (("api.openai.com", "hello"), ("api.openai.com", "hold me"),
                             ("example.com", "hello")):  # fmt: skip
            body = json.dumps(
                {"model": "gpt-4o", "messages": [{"role": "user", "content": prompt}]}
            ).encode()
            request = tutils.treq(
                method=b"POST", host=host, port=443, path=b"/v1/chat/completions", content=body,
                scheme=b"https", authority=b"",
            )  # fmt: skip
            request.headers["content-type"] = "application/json"
            request.host = host
            flow = tflow.tflow(req=request)
            flow.metadata["tollkeeper"] = {"agent": "atlas"}
            writer.add(flow)
    return path


def test_recorded_flows_show_what_a_policy_would_have_done(
    cli: Cli, made: Home, flows: Path
) -> None:
    data = cli("policy", "test", "--on", str(flows), "--json").data

    assert data["requests"] == 2
    assert data["hold"] == 1
    assert data["reasons"][0]["source"] == "rules.dear"
    assert "rules.dear" in cli("policy", "test", "--on", str(flows)).out


def test_what_is_no_file_of_flows_is_refused(cli: Cli, made: Home) -> None:
    done = cli("policy", "test", "--on", str(made.policy))

    assert done.code == 1
    assert "holds no flows" in done.err


def test_schema_prints_the_schema(cli: Cli) -> None:
    assert cli("policy", "schema").data == json_schema()


def test_a_missing_policy_is_said(cli: Cli, home: Home) -> None:
    assert cli("policy", "check").err.startswith("error: No policy at ")
    assert cli("policy", "check", "/nowhere.yaml").code == 1
