"""The policy in force: edits, broken edits, folders, deletion; the last good one always stays."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from tollkeeper.errors import PolicyError
from tollkeeper.proxy.policy_file import HOSTS_REMEMBERED, PolicyFile

GOOD = "version: 1\nagents:\n  atlas:\n    models: [gpt-4o]\n"
OTHER = "version: 1\nagents:\n  atlas:\n    models: [gpt-4o-mini]\n"


def models(file: PolicyFile) -> tuple[str, ...] | None:
    return file.policy.agents["atlas"].models


def looked(file: PolicyFile) -> bool:
    return asyncio.run(file.look())


@pytest.fixture
def path(tmp_path: Path) -> Path:
    made = tmp_path / "policy.yaml"
    made.write_text(GOOD)
    return made


def test_policy_that_does_not_load_starts_no_proxy(path: Path) -> None:
    path.write_text("version: 1\nagent: {}\n")

    with pytest.raises(PolicyError, match="agent"):
        PolicyFile(path)


def test_edit_in_place_and_atomic_replacement_are_taken(path: Path) -> None:
    file = PolicyFile(path)
    path.write_text(OTHER)
    assert looked(file)
    assert models(file) == ("gpt-4o-mini",)

    fresh = path.with_suffix(".new")
    fresh.write_text(GOOD)
    os.replace(fresh, path)

    assert looked(file)
    assert models(file) == ("gpt-4o",)


def test_unchanged_file_is_not_loaded_again(path: Path) -> None:
    file = PolicyFile(path)
    before = file.policy

    assert not looked(file)
    assert file.policy is before


@pytest.mark.parametrize(
    "broken",
    [
        b"version: 1\nagent: {}\n",
        b"",
        b"\x00\x01\x02",
        b"\xff\xfe\x00",
        b"[" * 3000,
        b"{" * 100_000,
        b"a: " * 2000 + b"\n",
        b"- " * 20_000,
        b"version: 2\n",
        b"version: 1\nversion: 1\n",
        b"a: &a [*a]\n",
        b"version: 1\n" + b"x" * 5_000_000,
        b"version: 1\nrules:\n- name: x\n  call: {prompts: x}\n  deny: {}\n",
        b"version: 1\ntimezone: Mars/Olympus\n",
        b"version: 1\nagents: {atlas: {rpm: 9" + b"9" * 5000 + b"}}\n",
        b"!!python/object/apply:os.system ['false']\n",
    ],
    ids=lambda b: repr(b[:24]),
)
def test_broken_edit_keeps_the_last_good_policy_and_says_so(
    path: Path, broken: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    file = PolicyFile(path)
    path.write_bytes(broken)

    assert looked(file)

    assert models(file) == ("gpt-4o",)
    assert file.broken
    assert "last good one" in caplog.text
    path.write_text(OTHER)
    assert looked(file)
    assert file.broken is None
    assert models(file) == ("gpt-4o-mini",)


def test_deleted_file_keeps_the_last_good_policy_and_says_so_once(path: Path) -> None:
    file = PolicyFile(path)
    path.unlink()

    first, second = looked(file), looked(file)

    assert (first, second) == (True, False)
    assert file.broken
    assert models(file) == ("gpt-4o",)
    path.write_text(OTHER)
    assert looked(file)
    assert models(file) == ("gpt-4o-mini",)


def test_file_that_becomes_a_folder_keeps_the_last_good_policy(path: Path) -> None:
    file = PolicyFile(path)
    path.unlink()
    path.mkdir()

    assert looked(file)
    assert file.broken
    assert models(file) == ("gpt-4o",)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "policy"
    made.mkdir()
    (made / "10-base.yaml").write_text("version: 1\n")
    (made / "20-agents.yaml").write_text(GOOD)
    return made


def test_folder_is_one_policy_and_each_of_its_files_is_watched(folder: Path) -> None:
    file = PolicyFile(folder)
    assert models(file) == ("gpt-4o",)

    (folder / "20-agents.yaml").write_text(OTHER)
    assert looked(file)
    assert models(file) == ("gpt-4o-mini",)

    (folder / "30-more.yaml").write_text("version: 1\nagents:\n  scout:\n    rpm: 1\n")
    assert looked(file)
    assert file.policy.agents["scout"].rpm == 1

    (folder / "30-more.yaml").unlink()
    assert looked(file)
    assert "scout" not in file.policy.agents


def test_broken_file_in_a_folder_keeps_all_of_the_last_good_policy(folder: Path) -> None:
    file = PolicyFile(folder)
    (folder / "10-base.yaml").write_text("version: 1\nmode: observe\n")
    (folder / "20-agents.yaml").write_text("agents: [\n")

    assert looked(file)
    assert file.broken
    assert file.policy.mode == "enforce"
    assert models(file) == ("gpt-4o",)


@pytest.mark.parametrize("how", ["emptied", "removed"])
def test_folder_without_files_keeps_the_last_good_policy_and_says_so(
    folder: Path, how: str
) -> None:
    file = PolicyFile(folder)
    for one in folder.iterdir():
        one.unlink()
    if how == "removed":
        folder.rmdir()

    assert looked(file)
    assert file.broken
    assert models(file) == ("gpt-4o",)


def test_remembered_providers_are_forgotten_with_the_policy_and_are_bounded(path: Path) -> None:
    file = PolicyFile(path)
    assert file.provider_of("llm.example") is None

    path.write_text("version: 1\nproviders:\n  mine:\n    hosts: [llm.example]\n    api: openai\n")
    assert looked(file), file.broken

    assert file.broken is None
    found = file.provider_of("llm.example")
    assert found is not None
    assert found.name == "mine"
    assert file.provider_of.cache_info().maxsize == HOSTS_REMEMBERED


def test_edit_while_an_older_one_loads_is_seen_at_the_next_look(path: Path) -> None:
    file = PolicyFile(path)
    path.write_text("version: 1\nagents: {}\n")

    async def story() -> None:
        look = asyncio.create_task(file.look())
        await asyncio.sleep(0)
        path.write_text(OTHER)
        await look
        await file.look()

    asyncio.run(story())

    assert models(file) == ("gpt-4o-mini",)
