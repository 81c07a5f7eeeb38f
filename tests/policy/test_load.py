from __future__ import annotations

from pathlib import Path

import pytest

from policy.writing import Load, Problems
from tollkeeper.domain import Effect, Mode, Price, Window
from tollkeeper.errors import PolicyError
from tollkeeper.policy.document import MAX_BYTES
from tollkeeper.policy.load import load

BUSTED = Path(__file__).parent / "busted"
FAULTS = sorted(BUSTED.glob("busted_*.yaml"))

SKETCH = """\
# yaml-language-server: $schema=schema.json
version: 1
mode: enforce
timezone: UTC
providers:
  openai: {key: {env: OPENAI_API_KEY}}
  anthropic: {connect_to: 127.0.0.1:8443}
  my-vllm: {hosts: [llm.corp.example], api: openai, prices: {"*": {input: 0.10, output: 0.30}}}
other_hosts:
  default: tunnel
  inspect: [api.stripe.com, api.sendgrid.com]
models:
  gpt-oss-20b: {provider: groq, model: llama-3.1-8b-instant, max_output_tokens: 8192}
tiers:
  - {name: cheap, models: [gpt-4o-mini, "claude-haiku-*", "gemini-*-flash"]}
  - {name: standard, models: [gpt-4o, "claude-sonnet-*"]}
  - {name: premium, models: [o3, "claude-opus-*"]}
teams:
  research: {budget_usd: {month: 200}}
ceilings: {rpm: 60}
agents:
  atlas:
    team: research
    budget_usd: {total: 5, day: 1, run: 0.50}
    requests: {month: 10000}
    rpm: 30
    tpm: 200000
    concurrent: 4
    models: [gpt-4o, gpt-4o-mini, gpt-oss-20b]
    key: injected
    streaming: true
    vision: false
    reasoning: true
    tools: [read_file, search]
    max_input_tokens: 100000
    max_output_tokens: 4096
    strict: false
    scope: full
rules:
  - name: dear-calls
    call: {expected_cost_usd: {over: 0.50}}
    hold: {lapses_after: 2h}
examples:
  - given: {agent: atlas, call: {model: o3, prompt: hello}}
    expect: {effect: deny, source: agents.atlas.models}
"""


@pytest.mark.parametrize("path", FAULTS, ids=lambda path: path.stem)
def test_fault_is_told_as_written_beside_it(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(BUSTED)

    with pytest.raises(PolicyError) as caught:
        load(Path(path.name))

    expected = path.with_suffix(".txt").read_text(encoding="utf-8")
    assert str(caught.value).replace(f"{path.name}:", "") + "\n" == expected


def test_language_of_the_handbook_loads(load_text: Load) -> None:
    loaded = load_text(SKETCH)
    policy = loaded.policy

    assert loaded.warnings == []
    assert policy.mode is Mode.ENFORCE
    assert policy.agents["atlas"].budget_nano_usd[Window.RUN] == 500_000_000
    assert policy.agents["atlas"].tools == ("read_file", "search")
    assert policy.teams["research"].budget_nano_usd[Window.MONTH] == 200 * 10**9
    assert policy.members == {"atlas": "research"}
    assert policy.providers["my-vllm"].prices["*"] == (
        Price({"input": 10**8, "output": 3 * 10**8}),
    )
    assert policy.providers["anthropic"].connect_to == ("127.0.0.1", 8443)
    assert policy.providers["anthropic"].hosts == ("api.anthropic.com",)
    assert policy.aliases["gpt-oss-20b"].limits.max_output_tokens == 8192
    assert policy.rules[0].effect is Effect.HOLD
    assert policy.rules[0].lapses_after_ns == 7200 * 10**9


def test_smallest_policy_loads(load_text: Load) -> None:
    policy = load_text("version: 1\n").policy

    assert policy.mode is Mode.ENFORCE
    assert policy.timezone == "UTC"
    assert "openai" in policy.providers
    assert policy.other_hosts.ports == (443,)


def test_digest_is_that_of_the_text(load_text: Load) -> None:
    first = load_text("version: 1\n").policy.digest
    same = load_text("version: 1\n").policy.digest
    other = load_text("version: 1  # edited\n").policy.digest

    assert first == same
    assert first != other


def test_problems_come_in_file_order_and_once(problems_of: Problems) -> None:
    found = problems_of(
        "version: 1\nagents: {a: {rpm: x}, b: {team: t}, c: {models: , tpm: -1}}\nnope: 1\n"
    )

    places = [tuple(int(part) for part in one.split(":")[:2]) for one in found]
    assert places == sorted(places)
    assert len(found) == len(set(found)) == 5


def test_one_mistake_does_not_make_others(problems_of: Problems) -> None:
    text = "version: 1\nteams: {t: {rpm: lots}}\nagents: {a: {team: t}}\n"

    assert problems_of(text) == ["2:18: 'rpm': expected a whole number, found 'lots'"]


def test_secret_is_never_repeated(problems_of: Problems) -> None:
    secret = "sk-proj-abcdefghijklmnopqrstuvwxyz"

    found = problems_of(
        f"version: 1\nmode: {secret}\nagents: {{{secret}: {{team: {secret}}}}}\n"
        f"providers: {{openai: {{key: {secret}, connect_to: {secret}}}}}\n"
    )

    assert found
    assert not any(secret in one for one in found)


def test_example_may_show_what_looks_like_a_secret(load_text: Load) -> None:
    load_text(
        "version: 1\n"
        "rules:\n"
        "  - {name: keys, call: {prompt: {matches: 'sk-[a-z]{20}'}}, deny: A key.}\n"
        "examples:\n"
        "  - given: {agent: a, call: {model: gpt-4o, prompt: it is sk-abcdefghijklmnopqrstuvwx}}\n"
        "    expect: {effect: deny, source: rules.keys}\n"
    )


def test_effects_may_be_written_without_a_value(load_text: Load) -> None:
    rules = load_text(
        "version: 1\nrules:\n"
        "  - {name: a, call: {stream: true}, deny: }\n"
        "  - {name: b, call: {stream: true}, hold: }\n"
        "  - {name: c, call: {stream: true}, allow: {}}\n"
        "  - {name: d, call: {stream: true}, deny: {message: Not now.}}\n"
    ).policy.rules

    assert [rule.effect for rule in rules] == [Effect.DENY, Effect.HOLD, Effect.ALLOW, Effect.DENY]
    assert [rule.message for rule in rules] == [None, None, None, "Not now."]


# --------------------------------------------------------------------------------- folders


def folder(tmp_path: Path, **files: str) -> Path:
    for name, text in files.items():
        (tmp_path / f"{name}.yaml").write_text(text)
    return tmp_path


def folder_problems(path: Path) -> list[str]:
    with pytest.raises(PolicyError) as caught:
        load(path)
    return [
        str(one).removeprefix(f"{path}/").replace(f"{path}/", "") for one in caught.value.problems
    ]


def test_folder_is_one_policy(tmp_path: Path) -> None:
    rule = "rules: [{{name: {0}, call: {{stream: true}}, hold: {{}}}}]\n"
    path = folder(
        tmp_path,
        b="version: 1\nagents: {zeus: {rpm: 5}}\nteams: {t: {rpm: 9}}\n" + rule.format("second"),
        a="version: 1\nagents: {atlas: {team: t}}\ntimezone: Europe/Berlin\n"
        + rule.format("first"),
        c="rules: [{name: third, call: {stream: true}, hold: {}}]\n",
    )
    (tmp_path / "schema.json").write_text("{}")

    policy = load(path).policy

    assert set(policy.agents) == {"atlas", "zeus"}
    assert policy.members == {"atlas": "t"}
    assert policy.timezone == "Europe/Berlin"
    assert [rule.name for rule in policy.rules] == ["first", "second", "third"]


def test_name_in_two_files_is_an_error_at_the_second(tmp_path: Path) -> None:
    path = folder(
        tmp_path,
        a="version: 1\nagents:\n  atlas: {rpm: 5}\n",
        b="agents:\n  atlas: {rpm: 9}\n",
    )

    assert folder_problems(path) == [
        "b.yaml:2:3: duplicate 'atlas' in 'agents'; it stands in a.yaml:3 already"
    ]


def test_setting_in_two_files_is_an_error(tmp_path: Path) -> None:
    path = folder(
        tmp_path, a="version: 1\nceilings: {rpm: 5}\n", b="version: 1\nceilings: {tpm: 9}\n"
    )

    assert folder_problems(path) == [
        "b.yaml:2:1: 'ceilings' may stand in one file only; it stands in a.yaml:2 already"
    ]


def test_problems_of_a_folder_come_in_the_order_of_its_files(tmp_path: Path) -> None:
    path = folder(
        tmp_path,
        a="version: 1\nagents: {atlas: {team: nobody}}\n",
        b="rules: [{name: a, call: {}}]\nmode: no\n",
    )

    assert [one.split(": ")[0] for one in folder_problems(path)] == [
        "a.yaml:2:24", "b.yaml:1:9", "b.yaml:2:7",
    ]  # fmt: skip


def test_aliased_section_does_not_grow_with_its_twin(tmp_path: Path) -> None:
    path = folder(
        tmp_path,
        a="version: 1\nagents: &x {one: {rpm: 5}}\nteams: *x\n",
        b="agents: {two: {rpm: 5}}\n",
    )

    policy = load(path).policy

    assert set(policy.agents) == {"one", "two"}
    assert set(policy.teams) == {"one"}


def test_empty_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match=r"expected \*\.yaml in this folder"):
        load(tmp_path)


def test_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match=r"cannot be read \(No such file"):
        load(tmp_path / "none.yaml")


def test_policy_has_a_largest_size(tmp_path: Path) -> None:
    half = "# " + "x" * (MAX_BYTES // 2) + "\n"

    with pytest.raises(PolicyError, match=f"at most {MAX_BYTES} bytes"):
        load(folder(tmp_path, a=half + "version: 1\n", b=half))
