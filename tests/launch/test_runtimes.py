"""The list of probes."""

from __future__ import annotations

import re

from tollkeeper.launch.runtimes import RUNTIMES


def test_every_probe_has_a_name_of_its_own_that_can_be_a_proxy_user() -> None:
    keys = [one.key for one in RUNTIMES]

    assert len(set(keys)) == len(keys)
    assert all(re.fullmatch(r"[a-z0-9-]+", key) for key in keys)


def test_every_probe_asks_for_its_version_by_its_own_program_and_says_the_mend() -> None:
    assert all(one.asks_version[0] == one.program for one in RUNTIMES)
    assert all(one.past for one in RUNTIMES)


def test_python_probes_are_programs() -> None:
    for one in RUNTIMES:
        if one.program == "python3":
            compile(one.words[2], one.key, "exec")
            compile(one.asks_version[2], one.key, "exec")
