"""What is read of a request, within bounds, and when its target is in doubt."""

from __future__ import annotations

import gzip
import zlib

import brotli
import pytest
import zstandard
from mitmproxy import http
from mitmproxy.test import tflow

from proxy.house import OPENAI, House
from tollkeeper import facts
from tollkeeper.domain import Reason
from tollkeeper.errors import WireError
from tollkeeper.proxy.reading import (
    METHOD_OVERRIDES,
    headers_of,
    likeness,
    objection,
    place_of,
    read,
    strip_control_headers,
    undo,
)
from tollkeeper.proxy.station import Caller

BODY = b'{"model":"gpt-4o-mini"}'
ENCODED = {
    "gzip": gzip.compress(BODY),
    "x-gzip": gzip.compress(BODY),
    "deflate": zlib.compress(BODY),
    "br": brotli.compress(BODY),
    "zstd": zstandard.ZstdCompressor().compress(BODY),
}
PROVIDER = facts.providers()["openai"]


def objected(flow: http.HTTPFlow, one: Caller) -> Reason | None:
    return objection(flow, one, headers_of(flow.request))


def caller(**changes: object) -> Caller:
    plain = Caller("atlas", "", target=(OPENAI, 443), provider=PROVIDER)
    for name, value in changes.items():
        setattr(plain, name, value)
    return plain


# ------------------------------------------------------------------ targets


def request(house: House, **changes: object) -> http.HTTPFlow:
    flow = house.flow()
    for name, value in changes.items():
        match name:
            case "sni":
                flow.client_conn.sni = value
            case "hosts":
                flow.request.headers.set_all("host", list(value))
            case _:
                setattr(flow.request, name, value)
    return flow


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"hosts": ["API.OpenAI.com"]},
        {"hosts": ["api.openai.com."]},
        {"hosts": ["api.openai.com:443"]},
        {"hosts": []},
        {"authority": "api.openai.com"},
        {"authority": "api.openai.com:443", "hosts": []},
        {"sni": "API.OPENAI.COM"},
    ],
    ids=repr,
)
def test_request_whose_names_agree_is_read(house: House, changes: dict) -> None:
    assert objected(request(house, **changes), caller()) is None


@pytest.mark.parametrize(
    "changes",
    [
        {"hosts": ["api.anthropic.com"]},
        {"hosts": ["api.openai.com", "api.anthropic.com"]},
        {"hosts": ["api.anthropic.com", "api.openai.com"]},
        {"hosts": ["api.openai.com:8443"]},
        {"hosts": ["api.openai.com:80"]},
        {"hosts": [""]},
        {"hosts": ["api.openai.com, api.anthropic.com"]},
        {"hosts": ["user@api.openai.com"]},
        {"hosts": ["api.openai.com@evil.example"]},
        {"hosts": ["api.openai.com/x"]},
        {"hosts": ["api.openai.com.evil.example"]},
        {"hosts": ["xapi.openai.com"]},
        {"hosts": ["127.0.0.1"]},
        {"hosts": ["[::1]"]},
        {"authority": "api.anthropic.com"},
        {"authority": "api.anthropic.com:443", "hosts": ["api.openai.com"]},
        {"authority": "api.openai.com:444"},
        {"authority": "api.openai.com", "hosts": ["api.anthropic.com"]},
        {"host": "api.anthropic.com", "hosts": ["api.openai.com"]},
        {"port": 8443},
        {"port": 80},
        {"sni": "api.anthropic.com"},
        {"sni": None},
        {"sni": ""},
        {"sni": "127.0.0.1"},
        {"scheme": "http"},
    ],
    ids=repr,
)
def test_request_whose_target_is_in_doubt_is_refused(house: House, changes: dict) -> None:
    reason = objected(request(house, **changes), caller())

    assert reason is not None
    assert reason.code == "policy_denied"


def test_target_of_a_later_request_is_looked_at_again(house: House) -> None:
    one = caller()
    good, bad = {"hosts": ["api.openai.com", "api.openai.com"]}, {"hosts": ["api.anthropic.com"]}

    assert objected(request(house, **good), one) is None
    assert objected(request(house, **good), one) is None
    assert objected(request(house, **bad), one) is not None
    assert objected(request(house, hosts=["api.openai.com, api.openai.com"]), one) is not None
    assert objected(request(house, **good), one) is None


@pytest.mark.parametrize("header", sorted(METHOD_OVERRIDES))
def test_header_that_overrides_the_method_is_refused(house: House, header: str) -> None:
    flow = house.flow()
    flow.request.headers[header.upper()] = "DELETE"

    assert objected(flow, caller()) is not None


def test_request_without_a_target_is_refused(house: House) -> None:
    assert objected(house.flow(), caller(target=None)) is not None


def test_inspected_host_may_be_asked_in_plain_http(house: House) -> None:
    flow = house.flow()
    flow.request.scheme, flow.request.port = "http", 80
    flow.request.host = "example.com"
    flow.request.headers["host"] = "example.com"
    flow.client_conn = tflow.tclient_conn()
    flow.client_conn.timestamp_tls_setup = None

    assert objected(flow, caller(target=("example.com", 80), provider=None)) is None


# ------------------------------------------------------------------ bodies


@pytest.mark.parametrize("encoding", ENCODED)
def test_encoding_is_undone(encoding: str) -> None:
    assert undo(ENCODED[encoding], encoding, 1000) == BODY


@pytest.mark.parametrize("encoding", ENCODED)
def test_body_of_exactly_the_limit_is_read_and_one_byte_more_is_not(encoding: str) -> None:
    assert undo(ENCODED[encoding], encoding, len(BODY)) == BODY

    with pytest.raises(WireError, match="more than"):
        undo(ENCODED[encoding], encoding, len(BODY) - 1)


@pytest.mark.parametrize(
    ("encoding", "bomb"),
    [
        ("gzip", gzip.compress(bytes(50_000_000))),
        ("deflate", zlib.compress(bytes(50_000_000))),
        ("br", brotli.compress(bytes(50_000_000), quality=1)),
        ("zstd", zstandard.ZstdCompressor().compress(bytes(50_000_000))),
    ],
    ids=["gzip", "deflate", "br", "zstd"],
)
def test_bomb_is_refused_without_being_unpacked(encoding: str, bomb: bytes) -> None:
    with pytest.raises(WireError, match="more than 1000 bytes"):
        undo(bomb, encoding, 1000)


@pytest.mark.parametrize("encoding", ENCODED)
@pytest.mark.parametrize("fault", ["cut", "junk behind", "twice", "junk", "empty"])
def test_body_that_is_not_one_whole_stream_is_refused(encoding: str, fault: str) -> None:
    data = ENCODED[encoding]
    raw = {
        "cut": data[:-3],
        "junk behind": data + b"{}",
        "twice": data * 2,
        "junk": BODY,
        "empty": b"",
    }[fault]

    with pytest.raises(WireError):
        undo(raw, encoding, 1000)


@pytest.mark.parametrize(
    "encoding", ["compress", "gzip, gzip", "gzip,br", "x-unknown", "aes128gcm"]
)
def test_other_encodings_are_refused_by_name(encoding: str) -> None:
    with pytest.raises(WireError, match="not read"):
        undo(BODY, encoding, 1000)


def test_two_content_encoding_headers_are_refused(house: House) -> None:
    flow = house.flow(body=ENCODED["gzip"])
    flow.request.headers.set_all("content-encoding", ["gzip", "gzip"])

    with pytest.raises(WireError):
        read(flow, PROVIDER, 1000)


def test_body_over_the_limit_is_refused_as_it_came(house: House) -> None:
    with pytest.raises(WireError, match="at most 10"):
        read(house.flow(body=b"x" * 11), PROVIDER, 10)


def test_request_is_read_with_lower_case_names_and_its_query_apart(house: House) -> None:
    flow = house.flow(path="/v1/models?limit=3?x", fields=[("Host", OPENAI), ("X-Odd", "1")])

    inbound = read(flow, PROVIDER, 10_000)

    assert (inbound.path, inbound.query) == ("/v1/models", "limit=3?x")
    assert inbound.headers == {"host": OPENAI, "x-odd": "1"}


# ------------------------------------------------------------------ what an agent says of itself


def test_control_headers_are_taken_out_and_only_known_ones_are_heard(house: House) -> None:
    fields = [
        ("Host", OPENAI),
        ("X-Tollkeeper-Step", "plan"),
        ("x-tollkeeper-step-type", "x" * 500),
        ("X-TOLLKEEPER-AGENT", "root"),
        ("x-tollkeeper-", "empty"),
        ("x-tollkeeperish", "stays"),
    ]
    flow = house.flow(fields=fields)

    said = strip_control_headers(flow)

    assert said == {"step": "plan", "step_type": "x" * 128}
    assert [name for name, _ in flow.request.headers.items()] == ["Host", "x-tollkeeperish"]


# ------------------------------------------------------------------ likeness


@pytest.mark.parametrize(
    "edit",
    [
        lambda r: setattr(r, "method", "PUT"),
        lambda r: setattr(r, "host", "evil.example"),
        lambda r: setattr(r, "port", 444),
        lambda r: setattr(r, "scheme", "http"),
        lambda r: setattr(r, "path", "/v1/files"),
        lambda r: setattr(r, "authority", "evil.example"),
        lambda r: setattr(r, "raw_content", b"{}"),
        lambda r: setattr(r, "trailers", http.Headers(x="1")),
        lambda r: r.headers.add("x", "1"),
        lambda r: r.headers.pop("host"),
    ],
)
def test_any_edit_makes_a_request_another_one(house: House, edit: object) -> None:
    flow = house.flow()
    before = likeness(flow.request)
    assert likeness(flow.request.copy()) == before

    edit(flow.request)

    assert likeness(flow.request) != before


def place(url: str, method: str = "POST") -> str:
    return place_of(http.Request.make(method, url))


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("https://a.example/v1/x", "https://a.example/v1/x", True),
        ("https://a.example/v1/x", "https://b.example/v1/x", False),
        ("https://a.example/v1/x", "https://a.example/v1/y", False),
        ("https://a.example/v1/x", "https://a.example/v1/x?beta=true", False),
        ("https://a.example/v1/x?a=1&b=2", "https://a.example/v1/x?b=2&a=1", True),
        ("https://a.example/m:generateContent", "https://a.example/m:streamGenerateContent?alt=sse", True),
        ("https://a.example/m:rawPredict", "https://a.example/m:streamRawPredict", True),
        ("https://a.example/model/m/converse", "https://a.example/model/m/converse-stream", True),
        ("https://a.example/model/m/converse", "https://a.example/model/n/converse-stream", False),
    ],
)  # fmt: skip
def test_approval_is_bound_to_where_a_call_goes_and_not_to_its_being_streamed(
    one: str, other: str, same: bool
) -> None:
    assert (place(one) == place(other)) is same
    assert place(one) != place(one, "PUT")
