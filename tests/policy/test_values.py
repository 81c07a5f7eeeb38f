from __future__ import annotations

from decimal import Decimal
from fnmatch import fnmatchcase
from typing import Any

import pytest
import re2
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError
from pydantic_core import PydanticCustomError

from tollkeeper.policy import values


def adapted(kind: Any, value: Any) -> Any:
    return TypeAdapter(kind).validate_python(value, strict=True)


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 10**18))
def test_every_nano_dollar_can_be_written(nano: int) -> None:
    assert values.nano_usd(Decimal(nano).scaleb(-9)) == nano


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 10**9), st.integers(1, 9))
def test_finer_than_a_nano_dollar_is_refused(whole: int, digit: int) -> None:
    with pytest.raises(PydanticCustomError, match="nine decimals"):
        values.nano_usd(Decimal(f"{min(whole, 10**9 - 1)}.000000000{digit}"))


@pytest.mark.parametrize("value", [True, None, "5", [5], Decimal(-1), -1, 10**9 + 1, 1.5])
def test_what_is_no_amount_is_refused(value: Any) -> None:
    with pytest.raises(PydanticCustomError, match="an amount in USD"):
        values.nano_usd(value)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("30s", 30), ("10m", 600), ("1h", 3600), ("24h", 86400), ("1d", 86400), ("366d", 366 * 86400)],
)
def test_durations_have_a_unit(text: str, seconds: int) -> None:
    assert values.duration_ns(text) == seconds * 10**9


@pytest.mark.parametrize(
    "text", ["", "1", "1.5h", "0s", "-1h", "1 h", "1H", "1w", "367d", "1h30m", 60, None]
)
def test_what_is_no_duration_is_refused(text: Any) -> None:
    with pytest.raises(PydanticCustomError, match="a duration"):
        values.duration_ns(text)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:8443", ("127.0.0.1", 8443)),
        ("gateway.corp.example:443", ("gateway.corp.example", 443)),
        ("[::1]:9000", ("::1", 9000)),
    ],
)
def test_addresses_have_a_port(text: str, address: tuple[str, int]) -> None:
    assert adapted(values.Address, text) == address


@pytest.mark.parametrize(
    "text", ["127.0.0.1", "::1:9000", "a:0", "a:65536", "http://a:1", "a:b", ":1", 8443]
)
def test_what_is_no_address_is_refused(text: Any) -> None:
    with pytest.raises(ValidationError):
        adapted(values.Address, text)


@pytest.mark.parametrize(
    ("text", "size"),
    [("32MiB", 32 << 20), ("64KiB", 65536), ("1MB", 10**6), (1_000_000, 1_000_000)],
)
def test_sizes_have_a_unit_or_are_bytes(text: Any, size: int) -> None:
    assert adapted(values.Size, text) == size


@pytest.mark.parametrize("text", ["32", "1GiB", "1KiB", 0, True, "513MiB", "1.5MiB"])
def test_what_is_no_size_is_refused(text: Any) -> None:
    with pytest.raises(ValidationError):
        adapted(values.Size, text)


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (values.Name, "a~b"), (values.Name, "a:b"), (values.Name, "default"), (values.Name, "anonymous"),
        (values.Name, ""), (values.Name, "x" * 65), (values.AgentEntry, "anonymous"),
        (values.Host, "https://a.example"), (values.Host, "10.0.0.1"), (values.Host, "a b"),
        (values.HostOrSuffix, "*.10.0.0.1"), (values.HostOrSuffix, "a.*.example"),
        (values.Env, "1A"), (values.Env, "A-B"), (values.ProviderName, "OpenAI"),
        (values.Proxy, "proxy.example:3128"), (values.Proxy, "socks5://a:1"), (values.Proxy, "http://a"),
        (values.TimeOfDay, "24:00"), (values.TimeOfDay, "9:30"), (values.TimeOfDay, "09:60"),
        (values.Prefix, "v1"), (values.Prefix, "/v1/"), (values.Prefix, "/v1?x"),
        (values.Pattern, "("), (values.Pattern, "(?<=a)b"), (values.Pattern, "a" * 1001), (values.Pattern, ""),
        (values.Pattern, "(a{999}){999}"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(kind: Any, text: str) -> None:
    with pytest.raises(ValidationError):
        adapted(kind, text)


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (values.AgentEntry, "default", "default"),
        (values.Host, "LLM.Corp.Example.", "llm.corp.example"),
        (values.Host, "bücher.example", "xn--bcher-kva.example"),
        (values.HostOrSuffix, "*.Corp.Example", "*.corp.example"),
        (values.Proxy, "http://proxy.example:3128/", "http://proxy.example:3128"),
        (values.Prefix, "", ""),
        (values.Prefix, "/openai/v1", "/openai/v1"),
        (values.TimeOfDay, "00:00", "00:00"),
    ],
)
def test_what_fits_is_brought_to_one_form(kind: Any, text: str, value: str) -> None:
    assert adapted(kind, text) == value


def test_password_of_a_proxy_is_refused_without_repeating_it() -> None:
    with pytest.raises(ValidationError) as caught:
        adapted(values.Proxy, "http://me:hunter2@proxy.example:3128")

    assert "hunter2" not in caught.value.errors()[0]["msg"]


@settings(max_examples=500, deadline=None)
@given(
    st.text(alphabet="ab*?[]!^-\\.\n", min_size=1, max_size=8),
    st.text(alphabet="ab[]!^-\\.\n*", max_size=6),
)
def test_globs_mean_the_same_in_re2_as_in_python(pattern: str, text: str) -> None:
    try:
        values.glob(pattern)
    except PydanticCustomError:
        return

    assert bool(re2.search(values.glob_pattern(pattern), text)) is fnmatchcase(text, pattern)
