from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.judging import NOW
from tollkeeper.core.identity import (
    day_run,
    label_run,
    new_approval_id,
    new_call_id,
    new_operator_code,
    new_token,
    operator_code,
    seal,
    split_user,
    token_sha256,
    valid_name,
)
from tollkeeper.domain import NS_PER_SECOND


def test_token_is_prefix_and_43_url_safe_characters_and_never_twice_the_same() -> None:
    tokens = {new_token() for _ in range(100)}

    assert len(tokens) == 100
    assert all(t.startswith("tk_") and len(t) == 46 and t[3:].isascii() for t in tokens)


def test_token_hash_is_hex_sha256() -> None:
    assert token_sha256("tk_a") == (
        "b6a45c4ba1fdda7425b634856d7f07d54e892ba744318d30c12b49e021df5c52"
    )
    assert token_sha256("tk_a") != token_sha256("tk_b")


@pytest.mark.parametrize("name", ["atlas", "A.b_c-9", "x" * 64, "0"])
def test_names_of_letters_digits_dot_dash_underscore_are_valid(name: str) -> None:
    assert valid_name(name)


@pytest.mark.parametrize(
    "name",
    ["", "x" * 65, "a~b", "a:b", "a b", "default", "anonymous", "ä", "a\n", "a/b", "１"],
)
def test_other_names_are_refused(name: str) -> None:
    assert not valid_name(name)


@pytest.mark.parametrize(
    ("user", "parts"),
    [
        ("atlas", ("atlas", None)),
        ("atlas~nightly", ("atlas", "nightly")),
        ("atlas~", ("atlas", None)),
        ("atlas~a~b c", ("atlas", "a-b-c")),
        ("~x", ("", "x")),
        ("atlas~" + "y" * 99, ("atlas", "y" * 64)),
    ],
)
def test_user_is_taken_apart_at_the_first_tilde(user: str, parts: tuple[str, str | None]) -> None:
    assert split_user(user) == parts


def test_call_ids_sort_by_time() -> None:
    early = new_call_id(NOW, b"\xff" * 16)
    late = new_call_id(NOW + 1_000_000, b"\x00" * 16)

    assert early < late
    assert early.startswith("call_")
    assert len(early) == 5 + 26


@given(st.integers(0, 2**48 - 1), st.binary(min_size=10, max_size=16))
def test_call_id_is_the_base32_of_its_time_and_random_bytes(
    milliseconds: int, random: bytes
) -> None:
    raw = milliseconds.to_bytes(6) + random[:10]
    digits = base64.b32hexencode(raw).decode().rstrip("=").lower()

    assert new_call_id(milliseconds * 1_000_000, random) == f"call_{digits}"


def test_approval_id_is_ten_lower_base32_characters() -> None:
    made = new_approval_id(bytes(range(7)))

    assert len(made) == 10
    assert set(made) <= set("abcdefghijklmnopqrstuvwxyz234567")


@given(
    st.lists(st.text(max_size=8), min_size=5, max_size=5),
    st.lists(st.text(max_size=8), min_size=5, max_size=5),
)
def test_two_verdicts_have_the_same_seal_only_when_they_say_the_same(
    one: list[str], other: list[str]
) -> None:
    first, second = seal(b"key", *one, 1), seal(b"key", *other, 1)  # type: ignore[arg-type]

    assert (first == second) == (one == other)


def test_seal_depends_on_the_key_and_the_time() -> None:
    said = ("id", "digest", "approved", "ann", "fine")

    assert seal(b"a", *said, 1) != seal(b"b", *said, 1)
    assert seal(b"a", *said, 1) != seal(b"a", *said, 2)


def test_day_run_changes_at_midnight_of_the_timezone() -> None:
    assert day_run("atlas", NOW, "UTC") == "atlas:2026-11-21"
    assert day_run("atlas", NOW, "Pacific/Kiritimati") == "atlas:2026-11-21"
    assert day_run("atlas", NOW, "America/Los_Angeles") == "atlas:2026-11-20"


def test_label_run_is_never_a_valid_name_so_never_a_minted_run() -> None:
    assert label_run("atlas", "x") == "atlas~x"
    assert not valid_name(label_run("atlas", "x"))


MINUTE_NS = 60 * NS_PER_SECOND


def test_operators_code_is_read_as_people_type_it() -> None:
    code = new_operator_code(b"key", b"\x01\x02\x03", MINUTE_NS)

    assert [len(part) for part in code.split("-")] == [4, 4, 4]
    read = {
        operator_code(b"key", typed, MINUTE_NS)
        for typed in (code, code.upper(), code.replace("-", ""), f" {code.replace('-', ' ')}\n")
    }
    assert read == {code.replace("-", "")}


def test_operators_code_is_good_in_its_minute_and_the_next() -> None:
    code = new_operator_code(b"key", b"abc", 5 * MINUTE_NS)

    assert operator_code(b"key", code, 7 * MINUTE_NS - 1) is not None
    assert operator_code(b"key", code, 7 * MINUTE_NS) is None
    assert operator_code(b"key", code, 5 * MINUTE_NS - 1) is None


def test_two_codes_of_one_minute_differ() -> None:
    assert new_operator_code(b"key", b"abc", 0) != new_operator_code(b"key", b"zbc", 0)


@given(st.text(max_size=16))
def test_what_was_not_made_with_the_key_is_no_code(typed: str) -> None:
    genuine = new_operator_code(b"key", b"abc", 0)

    assert operator_code(b"other", genuine, 0) is None
    assert operator_code(b"key", typed, 0) is None
    assert operator_code(b"key", genuine[:-1] + typed[:1], 0) in (None, genuine.replace("-", ""))


def test_origin_of_a_verdict_is_sealed() -> None:
    said = ("id", "digest", "approved", "ann", "fine", 1)

    assert seal(b"key", *said) == seal(b"key", *said, "cli")
    assert seal(b"key", *said) != seal(b"key", *said, "mitmweb")
