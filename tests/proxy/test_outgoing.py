"""Credentials below the flow: what a flow, its file and mitmweb hold is never what authenticates."""

from __future__ import annotations

import asyncio
import io
import json
from pathlib import Path

import pytest
from mitmproxy import http
from mitmproxy.io import FlowReader, FlowWriter
from mitmproxy.tools.web.app import flow_to_json

from proxy.house import GOOGLE, OPENAI, Fields, House, answered, proxy_authorization
from tollkeeper import facts
from tollkeeper.domain import KeySource
from tollkeeper.proxy.outgoing import NOTE, MissingKeyError, Outgoing, read_key

OWN, INJECTED = "sk-agents-own", "sk-the-real-one"


def fields_of(request: http.Request) -> Fields:
    return [(n.decode("latin-1"), v.decode("latin-1")) for n, v in request.headers.fields]


def looks(flow: http.HTTPFlow) -> bytes:
    """All that anybody can see or save of a flow."""
    file = io.BytesIO()
    FlowWriter(file).add(flow)
    state = repr(flow.get_state()).encode()
    return file.getvalue() + state + json.dumps(flow_to_json(flow)).encode()


def injecting(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REAL_KEY", INJECTED)
    house.govern_by({"providers": {"openai": {"key": {"env": "REAL_KEY"}}}})


def dressed(house: House, flow: http.HTTPFlow) -> http.Request:
    return house.outgoing.dress(flow, flow.request)


def test_agents_own_key_leaves_where_it_stood_and_is_nowhere_to_be_seen(house: House) -> None:
    fields = [
        ("Host", OPENAI),
        ("X-Zebra", "1"),
        ("aUTHORIZATION", f"Bearer {OWN}"),
        ("X-Apple", "2"),
        ("OpenAI-Organization", "org-own"),
    ]
    flow = house.judged(fields=fields)

    assert fields_of(dressed(house, flow)) == fields
    assert OWN.encode() not in looks(flow)
    assert b"org-own" not in looks(flow)
    assert fields_of(flow.request)[2] == ("aUTHORIZATION", NOTE.decode())


def test_injected_key_takes_the_place_of_every_credential_of_the_agent(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    injecting(house, monkeypatch)
    fields = [
        ("Host", OPENAI),
        ("X-Zebra", "1"),
        ("Api-Key", OWN),
        ("Authorization", f"Bearer {OWN}"),
        ("Authorization", f"Bearer {OWN}-2"),
        ("OpenAI-Project", "p"),
        ("X-Apple", "2"),
        ("Cookie", OWN),
    ]
    flow = house.judged(fields=fields)

    assert fields_of(dressed(house, flow)) == [
        ("Host", OPENAI),
        ("X-Zebra", "1"),
        ("Authorization", f"Bearer {INJECTED}"),
        ("X-Apple", "2"),
    ]
    for secret in (OWN, INJECTED):
        assert secret.encode() not in looks(flow)


def test_injected_key_is_added_where_the_agent_sent_none(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    injecting(house, monkeypatch)
    flow = house.judged(fields=[("Host", OPENAI)])

    assert fields_of(dressed(house, flow)) == [
        ("Host", OPENAI),
        ("authorization", f"Bearer {INJECTED}"),
    ]


def test_settled_flow_holds_no_key_either(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    injecting(house, monkeypatch)
    flow = house.judged(fields=[("Host", OPENAI), ("Authorization", f"Bearer {OWN}")])
    dressed(house, flow)

    asyncio.run(house.give(flow, answered()))

    for secret in (OWN, INJECTED, house.token):
        assert secret.encode() not in looks(flow)


def test_proxy_token_is_in_no_flow_and_reaches_no_provider(house: House) -> None:
    sent = proxy_authorization("atlas", house.token).decode()
    connect = house.connecting()
    house.doorkeeper.http_connect(connect)
    flow = house.judged(fields=[("Host", OPENAI), ("Proxy-Authorization", sent)])
    nested = house.connecting()
    nested.client_conn = flow.client_conn
    house.doorkeeper.http_connect(nested)

    assert flow.response is None
    assert fields_of(dressed(house, flow)) == [("Host", OPENAI)]
    for one in (connect, flow, nested):
        for secret in (house.token, sent, sent.removeprefix("Basic ")):
            assert secret.encode() not in looks(one)


def test_refused_plain_request_shows_no_credentials(house: House) -> None:
    flow = house.flow(
        client=house.connecting().client_conn,
        host="example.com",
        fields=[("Host", "example.com"), ("Authorization", OWN), ("Proxy-Authorization", "x tk_1")],
    )
    flow.request.scheme, flow.request.port = "http", 80

    house.enforcer.requestheaders(flow)

    assert flow.response.status_code == 407
    assert OWN.encode() not in looks(flow)
    assert b"tk_1" not in looks(flow)


@pytest.mark.parametrize("name", ["key", "KEY", "k%65y", "access_token", "api-key"])
def test_key_in_the_query_is_kept_out_and_put_back_as_it_was(house: House, name: str) -> None:
    path = "/v1beta/models/gemini-2.5-flash:generateContent"
    flow = house.flow(
        host=GOOGLE, path=f"{path}?alt=json&{name}={OWN}&x=%2F", fields=[("Host", GOOGLE)]
    )

    house.enforcer.requestheaders(flow)

    assert flow.request.path == f"{path}?alt=json&x=%2F"
    assert OWN.encode() not in looks(flow)
    assert dressed(house, flow).path == f"{path}?alt=json&{name}={OWN}&x=%2F"


def test_key_alone_in_the_query_leaves_no_question_mark_and_is_stripped_when_asked(
    house: House,
) -> None:
    flow = house.flow(host=GOOGLE, path=f"/v1beta/models?key={OWN}", fields=[("Host", GOOGLE)])
    wardrobe = house.outgoing.undress(flow)
    wardrobe.strip = True

    assert flow.request.path == "/v1beta/models"
    assert dressed(house, flow).path == "/v1beta/models"


def test_strip_without_inject_sends_no_credential_at_all(house: House) -> None:
    fields = [("Host", OPENAI), ("Authorization", OWN), ("X-Goog-Api-Key", OWN), ("X", "1")]
    flow = house.flow(fields=fields)
    house.outgoing.undress(flow).strip = True

    assert fields_of(dressed(house, flow)) == [("Host", OPENAI), ("X", "1")]


@pytest.mark.parametrize("header", sorted(facts.credential_headers()))
def test_every_credential_header_is_kept_out(house: House, header: str) -> None:
    flow = house.flow(fields=[("Host", OPENAI), (header.title(), OWN)])
    house.outgoing.undress(flow)

    assert OWN.encode() not in looks(flow)


@pytest.mark.parametrize("where", [("X-Trick", 0), ("X-Trick", 2), ("Authorization", 0)])
def test_agent_that_sends_the_notes_words_moves_no_credential(
    house: House, where: tuple[str, int]
) -> None:
    fields = [("Host", OPENAI), ("Authorization", OWN)]
    fields.insert(where[1], (where[0], NOTE.decode()))
    flow = house.flow(fields=fields)
    wardrobe = house.outgoing.undress(flow)

    own = fields_of(dressed(house, flow))
    wardrobe.strip, wardrobe.inject = True, ("authorization", INJECTED)
    injected = fields_of(dressed(house, flow))

    assert own == fields
    assert [value for _, value in injected].count(INJECTED) == 1
    assert OWN not in [value for _, value in injected]


def test_dressing_leaves_the_flow_as_it_was_and_may_be_done_twice(house: House) -> None:
    flow = house.judged(fields=[("Host", OPENAI), ("Authorization", OWN)])
    before = flow.get_state()

    first, second = (dressed(house, flow) for _ in range(2))

    assert flow.get_state() == before
    assert fields_of(first) == fields_of(second)


def test_flow_that_was_never_undressed_is_sent_as_it_is(house: House) -> None:
    flow = house.flow()

    assert Outgoing().dress(flow, flow.request) is flow.request


def test_saved_flow_can_be_read_again(house: House) -> None:
    flow = house.judged()
    file = io.BytesIO()
    FlowWriter(file).add(flow)
    file.seek(0)

    [again] = FlowReader(file).stream()

    assert again.metadata["tollkeeper"]["agent"] == "atlas"


# ------------------------------------------------------------------ reading keys


def test_key_is_read_anew_each_time(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "key"
    for value in ("one", "two"):
        monkeypatch.setenv("REAL_KEY", f" {value}\n")
        file.write_text(f"{value}\n")

        assert read_key(KeySource(env="REAL_KEY")) == value
        assert read_key(KeySource(file=str(file))) == value


@pytest.mark.parametrize("value", [None, "", "  \n"])
def test_missing_key_is_an_error_that_names_no_secret(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, value: str | None
) -> None:
    file = tmp_path / "key"
    monkeypatch.delenv("REAL_KEY", raising=False)
    if value is not None:
        monkeypatch.setenv("REAL_KEY", value)
        file.write_text(value)

    for source in (KeySource(env="REAL_KEY"), KeySource(file=str(file))):
        with pytest.raises(MissingKeyError):
            read_key(source)


@pytest.mark.parametrize("opened", [True, False])
def test_key_among_the_subprotocols_of_a_websocket_is_kept_like_one_in_a_header(
    house: House, opened: bool
) -> None:
    house.govern_by({"websockets": opened})
    protocols = f"realtime, openai-insecure-api-key.{OWN}, openai-project.proj-own"
    fields = [
        ("Host", OPENAI),
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Protocol", protocols),
    ]
    path = "/v1/realtime?model=gpt-realtime"

    flow = house.judged(method="GET", path=path, body=b"", fields=fields)

    assert OWN.encode() not in looks(flow)
    assert b"proj-own" not in looks(flow)
    assert (flow.response is None) is opened
    sent = dict(fields_of(dressed(house, flow)))
    assert sent["authorization"] == f"Bearer {OWN}"
    assert sent["openai-project"] == "proj-own"
    assert sent["sec-websocket-protocol"] == "realtime"


def test_key_among_the_subprotocols_goes_where_one_is_injected(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REAL_KEY", INJECTED)
    house.govern_by({"websockets": True, "providers": {"openai": {"key": {"env": "REAL_KEY"}}}})
    fields = [
        ("Host", OPENAI),
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Protocol", f"openai-insecure-api-key.{OWN}"),
    ]
    path = "/v1/realtime?model=gpt-realtime"

    flow = house.judged(method="GET", path=path, body=b"", fields=fields)

    sent = fields_of(dressed(house, flow))
    assert ("authorization", f"Bearer {INJECTED}") in sent
    assert OWN not in str(sent)
