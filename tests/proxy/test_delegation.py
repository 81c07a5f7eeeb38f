"""What is answered at tollkeeper.local, and that nothing of it goes anywhere."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from mitmproxy import http
from mitmproxy.proxy import server_hooks
from mitmproxy.test import tflow, tutils

from proxy.house import House, proxy_authorization, run
from tollkeeper.core.identity import token_sha256
from tollkeeper.ledger.sqlite import SqliteLedger
from tollkeeper.proxy.delegation import BODY_LIMIT_BYTES, HIDDEN_TOKEN
from tollkeeper.proxy.layers import UNSEEN_BODIES
from tollkeeper.proxy.tunnels import Tunnels

HOST = "tollkeeper.local"


def asking(
    house: House,
    method: str = "GET",
    path: str = "/",
    body: bytes = b"",
    *,
    host: str = HOST,
    port: int = 80,
    user: str = "atlas",
    token: str | None = None,
    headers: dict[bytes, bytes] | None = None,
) -> http.HTTPFlow:
    """A plain proxy request that went its whole way in."""
    client = tflow.tclient_conn()
    client.sockname = ("127.0.0.1", 8080)
    client.timestamp_tls_setup, client.tls, client.sni = None, False, None
    flow = http.HTTPFlow(client, tflow.tserver_conn())
    fields = {b"host": host.encode(), **(headers or {})}
    fields[b"proxy-authorization"] = proxy_authorization(user, token or house.token)
    flow.request = tutils.treq(
        method=method.encode(), scheme=b"http", host=host, port=port, path=path.encode(),
        headers=http.Headers(list(fields.items())), content=body,
    )  # fmt: skip
    run(house.judge(flow))
    assert flow.response is not None, "it would have been forwarded"
    return flow


def said(flow: http.HTTPFlow) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(flow.response.content)
    return found


def delegated(house: House, wish: dict[str, Any] | None = None, **who: Any) -> dict[str, Any]:
    """A child, with the token that only the client gets to see."""
    body = json.dumps(wish).encode() if wish is not None else b""
    flow = asking(house, "POST", "/delegate", body, **who)
    assert flow.response.status_code == 201, flow.response.content
    found: dict[str, Any] = json.loads(UNSEEN_BODIES[flow])
    return found


def as_child(child: dict[str, Any]) -> dict[str, Any]:
    return {"user": child["agent"], "token": child["token"]}


def test_child_is_told_with_token_address_and_end(house: House) -> None:
    child = delegated(house, {"name": "scout", "budget_usd": 0.5, "ttl": "10m"})

    assert child["agent"].startswith("atlas.scout-")
    assert house.station.ledger.identify(child["agent"], token_sha256(child["token"])) is not None
    who = f"http://{child['agent']}:{child['token']}@127.0.0.1:8080"
    assert child["proxy_url"] == who
    assert "delegated" in house.kinds()


def test_token_of_a_child_is_in_no_flow_and_its_answer_has_the_length_that_is_sent(
    house: House,
) -> None:
    flow = asking(house, "POST", "/delegate", b"{}")

    sent = UNSEEN_BODIES[flow]
    token = json.loads(sent)["token"]
    assert token.encode() not in repr(flow.get_state()).encode()
    assert said(flow)["token"] == HIDDEN_TOKEN
    assert flow.response.headers["content-length"] == str(len(sent))


def test_agent_learns_who_it_is_and_what_its_own_budgets_hold_and_nothing_of_others(
    house: House,
) -> None:
    child = delegated(house, {"budget_usd": {"total": 0.25}})

    parent, about = said(asking(house)), said(asking(house, **as_child(child)))

    assert parent["agent"] == "atlas"
    assert [one["limit"] for one in parent["budgets"]] == ["agent atlas budget_usd.total"]
    [budget] = about["budgets"]
    assert (budget["limit_usd"], budget["left_usd"], budget["resets_at"]) == ("0.25", "0.25", None)
    assert about["expires_at"] == child["expires_at"]


def test_flow_says_who_asked_the_proxy_itself(house: House) -> None:
    assert asking(house).comment == "atlas · answered · by the proxy itself"


def test_child_of_a_child_is_made_and_ended_with_it(house: House) -> None:
    child = delegated(house)
    grandchild = delegated(house, {"name": "bee"}, **as_child(child))
    assert grandchild["agent"].startswith(child["agent"] + ".bee-")

    ended = asking(house, "DELETE", f"/delegate/{child['agent']}")

    assert ended.response.status_code == 200
    for one in (child, grandchild):
        assert asking(house, **as_child(one)).response.status_code == 407


def test_agent_cannot_end_what_it_did_not_make(house: House) -> None:
    house.agent("hermes")

    answered = asking(house, "DELETE", "/delegate/hermes")

    assert answered.response.status_code == 403
    assert said(answered)["error"]["code"] == "policy_denied"


def test_paused_agent_is_told_nothing_and_makes_nobody(house: House) -> None:
    ledger = house.ledger()
    ledger.set_agent_state("atlas", "paused", time.time_ns(), "ada")
    ledger.close()

    for asked in (("GET", "/"), ("POST", "/delegate")):
        assert asking(house, *asked).response.status_code == 403


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/delegate", 405),
        ("POST", "/", 405),
        ("PUT", "/delegate/x", 405),
        ("GET", "/delegate/", 404),
        ("GET", "//", 404),
        ("GET", "/?a", 404),
        ("POST", "/delegate?a", 404),
        ("POST", "/delegate/../delegate", 405),
        ("GET", "/healthz", 404),
        ("GET", "/etc/passwd", 404),
    ],
)
def test_anything_else_is_not_there_and_told_as_json(
    house: House, method: str, path: str, status: int
) -> None:
    flow = asking(house, method, path, b"{}")

    assert flow.response.status_code == status
    assert said(flow)["error"]["code"] == "unknown_endpoint"


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (b"[]", {}),
        (b"{", {}),
        (b'{"name": "a", "name": "b"}', {}),
        (b'{"parent": "hermes"}', {}),
        (b'{"rpm": 0}', {}),
        (b"\xef\xbb\xbf{}", {}),
        (b" " * BODY_LIMIT_BYTES + b"{}", {}),
        (b"\x1f\x8b", {b"content-encoding": b"gzip"}),
    ],
)
def test_wish_that_cannot_be_read_makes_nobody(
    house: House, body: bytes, headers: dict[bytes, bytes]
) -> None:
    flow = asking(house, "POST", "/delegate", body, headers=headers)

    assert flow.response.status_code == 400
    assert said(flow)["error"]["code"] == "unreadable_request"
    assert len(house.station.ledger.agents()) == 1


@pytest.mark.parametrize(
    "host", ["TOLLKEEPER.LOCAL", "tollkeeper.local.", "Tollkeeper.Local.", "ｔollkeeper.local"]
)
def test_every_spelling_is_the_proxy_itself(house: House, host: str) -> None:
    house.govern_by({"other_hosts": {"default": "deny"}})
    client = house.connected(host)
    flow = house.flow(client=client, host=host, method="GET", path="/", fields=[("Host", host)])

    run(house.judge(flow))

    assert said(flow)["agent"] == "atlas"


@pytest.mark.parametrize("host", ["x.tollkeeper.local", "a.b.TOLLKEEPER.local."])
def test_nothing_below_the_name_is_opened_or_forwarded(house: House, host: str) -> None:
    house.govern_by({"other_hosts": {"tunnel": ["*.tollkeeper.local"], "ports": [80, 443]}})
    connecting = house.connecting(host)
    house.doorkeeper.http_connect(connecting)

    assert connecting.response.status_code == 403
    assert asking(house, host=host).response.status_code == 403
    assert asking(house, port=8080).response.status_code == 403


def test_host_header_that_names_the_proxy_opens_no_other_host(house: House) -> None:
    house.govern_by({"other_hosts": {"ports": [80, 443]}})

    for host, told in (("example.com", HOST), (HOST, "example.com")):
        flow = asking(house, host=host, headers={b"host": told.encode()})
        assert flow.response.status_code == 403, (host, told)


@pytest.mark.parametrize("host", [HOST, "TOLLKEEPER.LOCAL.", "x.tollkeeper.local"])
def test_the_name_is_never_dialled_even_if_something_asked_for_it(house: House, host: str) -> None:
    server = tflow.tserver_conn()
    server.address, server.via = (host, 443), ("http", ("127.0.0.1", 3128))
    data = server_hooks.ServerConnectionHookData(server, tflow.tclient_conn())

    run(Tunnels(house.station, house.outgoing.dress).server_connect(data))

    assert data.server.error is not None
    assert "nothing of it is forwarded" in data.server.error


def test_broken_ledger_makes_nobody_and_refuses(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise OSError("the disk is gone")

    monkeypatch.setattr(SqliteLedger, "delegate", broken)

    flow = asking(house, "POST", "/delegate", b"{}")

    assert flow.response.status_code == 503
    assert flow not in UNSEEN_BODIES
    assert "fault" in house.kinds()


def test_flood_of_wishes_is_refused_with_a_wait_and_without_a_record_each(house: House) -> None:
    answers = [asking(house, "POST", "/delegate", b"{}").response for _ in range(70)]

    refused = [one for one in answers if one.status_code == 429]
    assert len(refused) == 10
    assert all(1 <= int(one.headers["retry-after"]) <= 60 for one in refused)
    assert house.kinds().count("delegated") == 60
    assert house.station.turned_away["delegation rate_limited"] == 10
