from __future__ import annotations

from datetime import date

import pytest

from tollkeeper.facts import is_ai_host, normalise_host, provider_for_host
from tollkeeper.facts.tables import read_table

ENTRIES = read_table("ai_hosts")["hosts"]


@pytest.mark.parametrize(
    "host", ["api.replicate.com", "api.elevenlabs.io", "x.modal.run", "api.openai.com"]
)
def test_service_of_models_is_known(host: str) -> None:
    assert is_ai_host(host)


@pytest.mark.parametrize("host", ["github.com", "elevenlabs.io.example", "notfal.run", "modal.run"])
def test_other_host_is_none(host: str) -> None:
    assert not is_ai_host(host)


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: str(entry["name"]))
def test_every_name_is_in_its_one_form_and_not_governed_already(entry: dict[str, str]) -> None:
    name = entry["name"].lstrip(".")

    assert normalise_host(name) == name
    assert provider_for_host(name) is None
    assert entry["source"].startswith("https://")
    assert isinstance(entry["date"], date)
