from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tollkeeper.home import Home

from .conftest import Books, Cli


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "usage.csv"


def today() -> str:
    return f"{datetime.now(UTC):%Y-%m-%d}"


def write(file: Path, *lines: str) -> str:
    file.write_text("\n".join(["provider,day,model,cost_usd,requests", *lines]) + "\n")
    return str(file)


def test_books_and_bill_agree(cli: Cli, books: Books, file: Path) -> None:
    books.call()
    books.call(model="gpt-4o-mini")

    done = cli(
        "reconcile", write(file, f"openai,{today()},gpt-4o-2024-08-06,0.00325,1",
                           f"openai,{today()},gpt-4o-mini,0.000195,1"),
        "--tolerance", "0",
    )  # fmt: skip

    assert done.code == 0
    assert "2 of 2 rows agree." in done.lines
    assert "ours $0.003445, theirs $0.003445, difference $0.00" in done.lines


def test_a_call_past_the_proxy_is_found(cli: Cli, books: Books, file: Path) -> None:
    books.call()
    bill = write(file, f"openai,{today()},gpt-4o,0.5,9", f"openai,{today()},o3,1,1")

    done, data = cli("reconcile", bill), cli("reconcile", bill, "--json").data

    assert done.code == 1
    assert "0 of 2 rows agree." in done.lines
    assert "ours $0.00325, theirs $1.50, difference -$1.49675" in done.lines
    assert "  calls not through us: " in done.out
    assert [(row["model"], row["difference_usd"], row["cause"]) for row in data["rows"]] == [
        ("o3", "-1.00", "calls not through us"), ("gpt-4o", "-0.49675", "calls not through us"),
    ]  # fmt: skip
    assert (data["format"], data["agrees"], data["theirs_usd"]) == ("plain", False, "1.50")


def test_the_tolerance_may_be_an_amount_or_a_share(cli: Cli, books: Books, file: Path) -> None:
    books.call()
    bill = write(file, f"openai,{today()},gpt-4o,0.0033,1")

    assert cli("reconcile", bill).code == 0
    assert cli("reconcile", bill, "--tolerance", "0.00001").code == 1
    assert cli("reconcile", bill, "--tolerance", "2%").code == 0
    assert cli("reconcile", bill, "--tolerance", "1%").code == 1


def test_days_in_the_period_that_the_file_lacks_are_compared_too(
    cli: Cli, books: Books, file: Path
) -> None:
    books.call()
    then = datetime.fromtimestamp(time.time() - 2 * 86400, UTC)
    tomorrow = datetime.fromtimestamp(time.time() + 86400, UTC)

    done = cli(
        "reconcile", write(file, f"openai,{then:%Y-%m-%d},o3,0,0", f"openai,{tomorrow:%Y-%m-%d},o3,0,0"),
        "--json", "--tolerance", "0",
    )  # fmt: skip

    assert [row["cause"] for row in done.data["rows"] if not row["agrees"]] == ["not in the file"]


def test_rows_that_agree_are_shown_on_demand(cli: Cli, books: Books, file: Path) -> None:
    books.call()
    bill = write(file, f"openai,{today()},gpt-4o,0.00325,1")

    assert "gpt-4o" not in cli("reconcile", bill).out
    assert "gpt-4o" in cli("reconcile", bill, "--all").out


def test_a_file_may_be_of_a_provider_that_it_does_not_name(
    cli: Cli, books: Books, file: Path
) -> None:
    books.call()
    file.write_text(f"day,model,cost_usd\n{today()},gpt-4o,0.00325\n")

    assert cli("reconcile", str(file), "--tolerance", "0").code == 0
    assert cli("reconcile", str(file), "--tolerance", "0", "--provider", "openai").code == 0
    assert cli("reconcile", str(file), "--tolerance", "0", "--provider", "groq").code == 1


def test_an_answer_of_the_api_is_read_too(cli: Cli, books: Books, tmp_path: Path) -> None:
    books.call()
    start = int(datetime.fromisoformat(f"{today()}T00:00:00+00:00").timestamp())
    result = {"input_tokens": 100, "output_tokens": 300, "num_model_requests": 1, "model": "gpt-4o"}
    page = {"data": [{"start_time": start, "end_time": start + 86400, "results": [result]}]}
    target = tmp_path / "usage.json"
    target.write_text(json.dumps(page))

    done = cli("reconcile", str(target), "--all")

    assert done.code == 0
    assert "100/300" in done.out


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"day,model,cost_usd\n2026-11-20,x,much\n", "usage.csv:2:3: 'much' is no amount in USD"),
        (b"{\n", "usage.csv:2:1: no JSON"),
        (b"day,model\n\xff\xfe", "usage.csv:2:1: no UTF-8 text"),
        (b"", "usage.csv:1:1: the file is empty"),
        (b"a\0b,c\n", "usage.csv:1:2: no UTF-8 text"),
    ],
)
def test_a_file_that_cannot_be_read_is_told_with_line_and_column(
    cli: Cli, made: Home, file: Path, content: bytes, told: str
) -> None:
    file.write_bytes(content)

    done = cli("reconcile", str(file))

    assert done.code == 2
    assert told in done.err
    assert len(done.err.splitlines()) == 1


def test_wrong_words_are_wrong_usage(cli: Cli, made: Home, file: Path) -> None:
    assert cli("reconcile", str(file)).code == 2
    write(file)
    assert cli("reconcile", str(file), "--tolerance", "much").code == 2
    assert cli("reconcile", str(file), "--tolerance", "200%").code == 2
    assert cli("reconcile", str(file)).code == 0


def test_names_from_a_file_cannot_move_the_terminal(cli: Cli, made: Home, file: Path) -> None:
    done = cli("reconcile", write(file, f"openai,{today()},\x1b[2Jgpt,1,1"))

    assert "\x1b" not in done.out
