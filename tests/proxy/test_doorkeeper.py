"""Who may come in, and what a CONNECT may lead to."""

from __future__ import annotations

import base64
import time

import pytest
from mitmproxy import http

from proxy.house import ANTHROPIC, OPENAI, House, proxy_authorization
from tollkeeper.domain import OtherHosts, Policy
from tollkeeper.proxy.doorkeeper import credentials, other_host


def basic(text: str) -> str:
    return "Basic " + base64.b64encode(text.encode()).decode()


@pytest.mark.parametrize(
    ("header", "pair"),
    [
        (basic("atlas:tk_1"), ("atlas", "tk_1")),
        (basic("atlas~nightly:tk_1"), ("atlas~nightly", "tk_1")),
        (basic("atlas:a:b"), ("atlas", "a:b")),
        ("bAsIc " + basic("a:b").partition(" ")[2], ("a", "b")),
        (basic(":"), ("", "")),
        (basic("no colon"), None),
        ("Basic", None),
        ("Basic !!!", None),
        ("Basic /w==", None),
        ("Bearer tk_1", None),
        ("", None),
        ("Basic " + "A" * 3, None),
    ],
)
def test_credentials_are_read_or_there_are_none(header: str, pair: tuple | None) -> None:
    assert credentials(header) == pair


@pytest.mark.parametrize(
    ("default", "name", "treatment"),
    [
        ("tunnel", "example.com", "tunnel"),
        ("deny", "example.com", "deny"),
        ("tunnel", "bad.example", "deny"),
        ("tunnel", "x.bad.example", "tunnel"),
        ("tunnel", "x.worse.example", "deny"),
        ("tunnel", "worse.example", "tunnel"),
        ("tunnel", "notworse.example", "tunnel"),
        ("deny", "seen.example", "inspect"),
        ("deny", "open.example", "tunnel"),
        ("tunnel", "both.example", "deny"),
    ],
)
def test_named_hosts_win_over_the_default_and_the_strictest_over_all(
    default: str, name: str, treatment: str
) -> None:
    others = OtherHosts(
        default=default,
        deny=("bad.example", "*.worse.example", "both.example"),
        inspect=("seen.example", "both.example"),
        tunnel=("open.example", "both.example"),
    )

    policy = Policy("", "enforce", "UTC", {}, other_hosts=others)

    assert other_host(policy, name) == treatment


def connect(
    house: House, target: str = OPENAI, port: int = 443, *, token: str | None = None
) -> http.HTTPFlow:
    flow = house.connecting(target, token=token)
    flow.request.port = port
    house.doorkeeper.http_connect(flow)
    return flow


def test_known_agent_gets_a_tunnel_and_its_principal_is_remembered(house: House) -> None:
    flow = connect(house)

    caller = house.station.callers[flow.client_conn]
    assert flow.response is None
    assert caller.principal is not None
    assert (caller.principal.agent, caller.target) == ("atlas", (OPENAI, 443))
    assert caller.provider is not None
    assert caller.decrypted


def test_wrong_token_opens_the_tunnel_to_a_provider_and_is_refused_inside(house: House) -> None:
    flow = connect(house, token="tk_wrong")
    inside = house.flow(client=flow.client_conn)

    house.enforcer.requestheaders(inside)

    assert flow.response is None
    assert inside.response.status_code == 401
    assert inside.response.json()["error"]["code"] == "unknown_agent"


def test_wrong_token_opens_no_other_tunnel(house: House) -> None:
    flow = connect(house, "example.com", token="tk_wrong")

    assert flow.response.status_code == 407
    assert "proxy-authenticate" in flow.response.headers


@pytest.mark.parametrize("header", [None, b"Bearer x", b"Basic !!"])
def test_no_usable_credentials_are_challenged(house: House, header: bytes | None) -> None:
    flow = house.connecting()
    flow.request.headers = http.Headers([(b"proxy-authorization", header)] if header else [])

    house.doorkeeper.http_connect(flow)

    assert flow.response.status_code == 407
    assert house.station.turned_away["no credentials"] == 1


@pytest.mark.parametrize(
    ("host", "port"),
    [
        ("127.0.0.1", 443),
        ("::1", 443),
        ("2130706433", 443),
        ("0x7f.1", 443),
        ("169.254.169.254", 443),
        ("", 443),
        ("a b", 443),
        (OPENAI, 80),
        (OPENAI, 8443),
        ("example.com", 22),
        ("example.com", 80),
    ],
)
def test_addresses_and_closed_ports_are_not_connected_to(
    house: House, host: str, port: int
) -> None:
    assert connect(house, host, port).response.status_code == 403


@pytest.mark.parametrize("host", ["API.OPENAI.COM", "api.openai.com.", "Api.OpenAI.Com."])
def test_provider_is_known_in_every_spelling_of_its_name(house: House, host: str) -> None:
    flow = connect(house, host)

    assert house.station.callers[flow.client_conn].provider is not None


@pytest.mark.parametrize("host", ["api.openai.com.evil.example", "xapi.openai.com"])
def test_name_that_only_looks_like_a_provider_is_none(house: House, host: str) -> None:
    caller = house.station.callers[connect(house, host).client_conn]

    assert caller.provider is None
    assert not caller.decrypted


def test_inspected_host_is_decrypted_and_a_denied_one_is_not_reached(house: House) -> None:
    house.govern_by({"other_hosts": {"inspect": ["seen.example"], "deny": ["bad.example"]}})

    seen, denied = connect(house, "seen.example"), connect(house, "bad.example")

    assert house.station.callers[seen.client_conn].decrypted
    assert denied.response.status_code == 403


def test_tunnel_inside_a_tunnel_is_not_opened(house: House) -> None:
    first = connect(house)
    second = house.connecting(ANTHROPIC)
    second.client_conn = first.client_conn

    house.doorkeeper.http_connect(second)

    assert second.response.status_code == 403
    assert "proxy-authorization" not in second.request.headers
    assert house.station.callers[first.client_conn].target == (OPENAI, 443)


def test_refused_connect_may_be_tried_again_with_other_credentials(house: House) -> None:
    flow = house.connecting("example.com", token="tk_wrong")
    house.doorkeeper.http_connect(flow)
    again = house.connecting("example.com")
    again.client_conn = flow.client_conn

    house.doorkeeper.http_connect(again)

    assert (flow.response.status_code, again.response) == (407, None)


def test_new_connection_inherits_nobody(house: House) -> None:
    client = house.connected()

    house.doorkeeper.client_connected(client)

    assert client not in house.station.callers


def plain(house: House, url_host: str, token: str | None, port: int = 80) -> http.HTTPFlow:
    flow = house.flow(client=house.connecting().client_conn, host=url_host)
    flow.client_conn.timestamp_tls_setup = None
    flow.request.scheme, flow.request.port = "http", port
    if token is not None:
        flow.request.headers["proxy-authorization"] = proxy_authorization("atlas", token).decode()
    house.enforcer.requestheaders(flow)
    return flow


def test_plain_request_authenticates_each_time(house: House) -> None:
    house.govern_by({"other_hosts": {"ports": [80, 443]}})

    good, none, wrong = (
        plain(house, "example.com", token) for token in (house.token, None, "tk_wrong")
    )

    assert good.response is None
    assert (none.response.status_code, wrong.response.status_code) == (407, 407)
    assert "proxy-authorization" not in good.request.headers


@pytest.mark.parametrize(
    ("host", "port"), [(OPENAI, 80), (OPENAI, 443), ("127.0.0.1", 80), ("example.com", 8080)]
)
def test_plain_request_to_providers_addresses_and_closed_ports_is_refused(
    house: House, host: str, port: int
) -> None:
    assert plain(house, host, house.token, port).response.status_code == 403


def test_revoked_token_is_nobody(house: House) -> None:
    ledger = house.ledger()
    ledger.revoke_tokens("atlas", time.time_ns(), by="tester")
    ledger.close()

    flow = connect(house, "example.com")

    assert flow.response is not None
    assert flow.response.status_code in (403, 407)


@pytest.mark.parametrize("user", ["atlas", "atlas~nightly", "atlas~" + "x" * 500, "~", "a/../b"])
def test_label_only_groups_and_odd_names_are_nobody(house: House, user: str) -> None:
    header = basic(f"{user}:{house.token}")

    caller = house.doorkeeper.caller_of(header)

    assert caller is not None
    if caller.principal is not None:
        assert caller.principal.agent == "atlas"
        assert not caller.principal.run_is_minted
