from __future__ import annotations

from tollkeeper.home import Home

from .conftest import Books, Cli


def test_list_shows_what_the_policy_names_with_tier_price_and_source(cli: Cli, made: Home) -> None:
    rows = {row["model"]: row for row in cli("model", "list", "--json").data}

    mini = rows["gpt-4o-mini"]
    assert (mini["provider"], mini["tier"]) == ("openai", "cheap")
    assert (mini["input_usd"], mini["output_usd"]) == ("0.15", "0.60")
    assert mini["source"].startswith("genai-prices ")
    assert "o3" not in rows


def test_a_name_or_all_looks_through_every_known_price(cli: Cli, made: Home) -> None:
    assert len(cli("model", "list", "--all", "--json").data) > 100
    found = cli("model", "list", "claude-haiku-4-5", "--provider", "anthropic", "--json").data
    assert "claude-haiku-4-5" in [row["model"] for row in found]
    assert {row["provider"] for row in found} == {"anthropic"}


def test_a_price_that_only_our_own_table_has_is_listed_with_its_page(cli: Cli, made: Home) -> None:
    rows = cli("model", "list", "eu.amazon.nova-lite*", "--json").data

    assert [(row["model"], row["input_usd"]) for row in rows] == [
        ("eu.amazon.nova-lite-v1:0", "0.078")
    ]
    assert rows[0]["source"].startswith("https://")


def test_own_prices_aliases_and_called_models_are_listed(
    cli: Cli, books: Books, made: Home
) -> None:
    books.call(model="no-such-model")
    books.call(model="gpt-4o")
    made.policy.write_text(
        "version: 1\n"
        "providers: {lab: {hosts: [lab.example], api: openai,"
        " prices: {m1: {input: 1, output: 2}}}}\n"
        "models: {fast: {provider: lab, model: m1}}\n"
    )

    rows = {row["model"]: row for row in cli("model", "list", "--json").data}

    assert rows["m1"]["source"] == "providers.lab.prices.m1"
    assert (rows["fast"]["is"], rows["fast"]["input_usd"]) == ("m1", "1.00")
    assert "gpt-4o" in rows


def test_nothing_that_fits_is_said(cli: Cli, made: Home) -> None:
    assert cli("model", "list", "zzz").err == "No model fits: try --all.\n"


def test_endpoints_are_listed_with_how_they_are_billed(cli: Cli, made: Home) -> None:
    rows = cli("model", "list", "--endpoints", "--json").data
    batches = next(
        row for row in rows if row["api"] == "openai" and row["what"].startswith("batches")
    )

    assert {"metered", "free", "refused"} == {row["how"] for row in rows}
    assert all(row["source"].startswith("https://") and row["date"] for row in rows)
    assert batches["path"] == "/batch(es)?…"
    assert "send the calls one by one" in batches["what"]


def test_endpoints_of_one_provider_have_their_whole_paths(cli: Cli, made: Home) -> None:
    rows = cli("model", "list", "rerank", "--endpoints", "--provider", "cohere", "--json").data
    nothing = cli("model", "list", "zzz", "--endpoints")

    assert "/v[12]/rerank" in [row["path"] for row in rows]
    assert nothing.err == "No endpoint fits.\n"


def test_prices_by_other_measures_are_shown_as_such(cli: Cli, made: Home) -> None:
    [whisper] = cli("model", "list", "whisper-1", "--provider", "openai", "--json").data

    assert whisper["input_usd"] is None
    assert whisper["other"] == "$0.36 an hour of audio"
