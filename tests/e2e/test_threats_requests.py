"""Attacks inside of a tunnel: bodies that two readers read differently, framing, keys, spoofing."""

from __future__ import annotations

import base64
import gzip
import json
import zlib
from collections.abc import Callable
from typing import Any

import brotli
import pytest
import zstandard

from e2e.tunnel import CHAT, Said, Tunnel, ask, credentials, records, request
from e2e.world import World, wait
from tollkeeper.simulator.lab import body_of

OPENAI_KEY = "sk-real-of-the-operator"
PROVIDERS = {
    "providers": {
        name: {"key": {"env": f"{name.upper()}_REAL"}} for name in ("openai", "anthropic", "google")
    },
    "agents": {
        "default": {},
        "own-key": {"key": "own"},
        "strict": {"strict": True},
        "reader": {"scope": "read-only"},
        "lists": {"models": ["gpt-4o-mini"]},
    },
}
REAL = {f"{name}_REAL": OPENAI_KEY for name in ("OPENAI", "ANTHROPIC", "GOOGLE")}


@pytest.fixture(scope="module")
def keyed(town: World) -> World:
    """The shared installation, with keys to inject and agents of several kinds."""
    town.policy({**PROVIDERS})
    town.proxies.append(town.proxy(**REAL))
    for name in ("own-key", "strict", "reader", "lists"):
        town.agent(name)
    return town


def chat(**more: Any) -> bytes:
    return json.dumps(CHAT | more).encode()


def stays_here(world: World, said: Said) -> None:
    """It was refused by us, reached nobody, and reserves nothing."""
    assert 400 <= said.status < 500, said
    assert world.lab.calls() == []
    assert world.books()["open"] == 0


# ------------------------------------------------------------------ bodies

TEXT = chat().decode()
BODIES: list[tuple[str, bytes]] = [
    ("empty", b""),
    ("no object", b"[1]"),
    ("a number", b"7"),
    ("cut", chat()[:-1]),
    ("followed by more", chat() + b"{}"),
    ("comments", b"/* hi */" + chat()),
    ("a trailing comma", TEXT[:-1].encode() + b",}"),
    ("single quotes", TEXT.replace('"', "'").encode()),
    ("a byte-order mark", b"\xef\xbb\xbf" + chat()),
    ("UTF-16", TEXT.encode("utf-16")),
    ("UTF-32", TEXT.encode("utf-32-le")),
    ("Latin-1", chat(user="x").replace(b'"x"', b'"\xe9"')),
    ("half a surrogate pair", chat().replace(b'"hello"', b'"\\ud800"')),
    ("overlong UTF-8", chat(user="x").replace(b'"x"', b'"\xc0\xaf"')),
    ("a key twice", b'{"model":"gpt-4o",' + chat()[1:]),
    ("a key twice, escaped", b'{"mod\\u0065l":"gpt-4o",' + chat()[1:]),
    ("a key twice, deep", chat(metadata={"a": 1}).replace(b'"a": 1', b'"a": 1, "a": 2')),
    ("NaN", chat(temperature=0).replace(b'"temperature": 0', b'"temperature": NaN')),
    ("a number over all bounds", chat(top_p=0).replace(b'"top_p": 0', b'"top_p": 1e999')),
    ("a number of many digits", chat(n=1).replace(b'"n": 1', b'"n": ' + b"9" * 5000)),
    ("deep nesting", chat(metadata=0).replace(b'"metadata": 0', b'"metadata": ' + b"[" * 5000 + b"]" * 5000)),
    ("max_tokens as text", chat(max_tokens="abc")),
    ("max_tokens as a truth value", chat(max_tokens=True)),
    ("max_tokens below nothing", chat(max_tokens=-1)),
    ("max_tokens as a fraction", chat(max_tokens=0.5)),
    ("n below nothing", chat(n=-1)),
    ("n of nothing", chat(n=0)),
    ("stream as text", chat(stream="yes")),
    ("stream as a number", chat(stream=1)),
    ("model as a list", chat(model=["gpt-4o-mini"])),
    ("no model", json.dumps({"messages": []}).encode()),
    ("messages as text", chat(messages="hello")),
    ("messages of numbers", chat(messages=[1])),
    ("tools as text", chat(tools="all")),
    ("other models beside it", chat(models=["gpt-4o", "o3"])),
]  # fmt: skip


@pytest.mark.parametrize(("what", "body"), BODIES, ids=[name for name, _ in BODIES])
def test_body_that_can_be_misread_is_refused_with_a_record(
    keyed: World, what: str, body: bytes
) -> None:
    keyed.lab.reset()
    before = len(records(keyed, "refused"))

    said = ask(keyed, request(body))

    stays_here(keyed, said)
    assert (said.status, said.code) == (400, "unreadable_request"), what
    assert len(records(keyed, "refused")) == before + 1


ENCODINGS: list[tuple[str, str, Callable[[], bytes]]] = [
    ("an unknown encoding", "snappy", chat),
    ("two encodings", "gzip, br", lambda: gzip.compress(chat())),
    ("an encoding that it does not have", "gzip", chat),
    ("half a stream", "gzip", lambda: gzip.compress(chat())[:-9]),
    ("two streams", "gzip", lambda: gzip.compress(chat()) + gzip.compress(b" ")),
    ("a gzip bomb", "gzip", lambda: gzip.compress(b" " * 60_000_000)),
    ("a deflate bomb", "deflate", lambda: zlib.compress(b" " * 60_000_000)),
    ("a brotli bomb", "br", lambda: brotli.compress(b" " * 60_000_000, quality=5)),
    ("a zstd bomb", "zstd", lambda: zstandard.compress(b" " * 60_000_000)),
]


@pytest.mark.parametrize(("what", "encoding", "made"), ENCODINGS, ids=[e[0] for e in ENCODINGS])
def test_body_that_cannot_be_unpacked_is_refused_with_a_record(
    keyed: World, what: str, encoding: str, made: Callable[[], bytes]
) -> None:
    keyed.lab.reset()
    before = len(records(keyed, "refused"))

    said = ask(keyed, request(made(), fields=[("Content-Encoding", encoding)]))

    stays_here(keyed, said)
    assert said.code == "unreadable_request", what
    assert len(records(keyed, "refused")) == before + 1


@pytest.mark.parametrize(
    "pack", [gzip.compress, zlib.compress, brotli.compress, zstandard.compress]
)
def test_compressed_body_is_judged_by_what_is_in_it(keyed: World, pack: Any) -> None:
    keyed.lab.reset()
    encoding = {
        gzip.compress: "gzip", zlib.compress: "deflate", brotli.compress: "br", zstandard.compress: "zstd",
    }[pack]  # fmt: skip
    packed = pack(chat())  # once: a gzip header holds the second in which it was made

    ask(keyed, request(packed, fields=[("Content-Encoding", encoding)]), agent="lists")
    denied = ask(
        keyed,
        request(pack(chat(model="gpt-4o")), fields=[("Content-Encoding", encoding)]),
        agent="lists",
    )

    assert denied.status == 403
    assert [body_of(one) for one in keyed.lab.calls()] == [packed]


def chunked(*pieces: bytes) -> bytes:
    return b"".join(b"%x\r\n%s\r\n" % (len(one), one) for one in pieces) + b"0\r\n\r\n"


def test_chunked_body_is_judged_like_any_other(keyed: World) -> None:
    keyed.lab.reset()
    head = request(b"", fields=[("Transfer-Encoding", "chunked")], length=False)
    body = chat(model="gpt-4o")

    said = ask(keyed, head + chunked(body[:7], body[7:]), agent="lists")

    assert (said.status, said.code) == (403, "policy_denied")
    assert keyed.lab.calls() == []


def test_chunked_body_over_the_limit_is_refused_with_a_record(keyed: World) -> None:
    keyed.lab.reset()
    before = len(records(keyed, "refused"))
    head = request(b"", fields=[("Transfer-Encoding", "chunked")], length=False)

    said = ask(keyed, head + chunked(*[b" " * 1_000_000] * 34))

    stays_here(keyed, said)
    assert said.code == "unreadable_request"
    assert len(records(keyed, "refused")) == before + 1


# ------------------------------------------------------------------ framing

SMUGGLED = request(chat(), fields=[("X-Smuggled", "yes")])
FRAMES: list[tuple[str, bytes]] = [
    ("both lengths", request(b"", fields=[("Transfer-Encoding", "chunked"), ("Content-Length", "5")], length=False) + b"0\r\n\r\n" + SMUGGLED),
    ("two lengths", request(b"", fields=[("Content-Length", "0"), ("Content-Length", "9")], length=False) + SMUGGLED),
    ("a length with a sign", request(b"", fields=[("Content-Length", "+0")], length=False)),
    ("a negative length", request(b"", fields=[("Content-Length", "-1")], length=False)),
    ("a length list", request(b"", fields=[("Content-Length", "0, 0, 5")], length=False)),
    ("a space before the colon", b"POST /v1/chat/completions HTTP/1.1\r\nHost : api.openai.com\r\n\r\n"),
    ("a folded line", b"POST /v1/chat/completions HTTP/1.1\r\nHost: api.openai.com\r\n X: y\r\nContent-Length: 0\r\n\r\n"),
    ("an unknown coding", request(b"", fields=[("Transfer-Encoding", "xchunked")], length=False) + SMUGGLED),
    ("two codings", request(b"", fields=[("Transfer-Encoding", "gzip, chunked")], length=False) + b"0\r\n\r\n"),
    ("a coding twice", request(b"", fields=[("Transfer-Encoding", "chunked"), ("Transfer-Encoding", "identity")], length=False) + b"0\r\n\r\n"),
    ("a bare carriage return", b"POST /v1/chat/completions HTTP/1.1\r\nHost: api.openai.com\rX: y\r\nContent-Length: 0\r\n\r\n"),
    ("a zero byte", b"POST /v1/chat/completions HTTP/1.1\r\nHost: api.openai.com\r\nX: \x00\r\nContent-Length: 0\r\n\r\n"),
    ("a chunk size that is none", request(b"", fields=[("Transfer-Encoding", "chunked")], length=False) + b"5;x=\x00\r\nhello\r\n0\r\n\r\n"),
    ("a chunk that is too long", request(b"", fields=[("Transfer-Encoding", "chunked")], length=False) + b"2\r\nhello\r\n0\r\n\r\n"),
    ("trailers", request(b"", fields=[("Transfer-Encoding", "chunked")], length=False) + b"2\r\n{}\r\n0\r\nHost: api.anthropic.com\r\n\r\n"),
    ("an old version", b"POST /v1/chat/completions HTTP/0.9\r\nHost: api.openai.com\r\n\r\n"),
    ("a header block without end", b"POST /v1/chat/completions HTTP/1.1\r\nHost: api.openai.com\r\n" + b"X-Fill: y\r\n" * 30_000 + b"\r\n"),
    ("one endless header line", b"POST /v1/chat/completions HTTP/1.1\r\nX: " + b"y" * 300_000),
    ("an endless chunk size", request(b"", fields=[("Transfer-Encoding", "chunked")], length=False) + b"5;" + b"x" * 300_000),
]  # fmt: skip


@pytest.mark.parametrize(("what", "data"), FRAMES, ids=[name for name, _ in FRAMES])
def test_request_whose_end_is_in_doubt_reaches_nobody(keyed: World, what: str, data: bytes) -> None:
    keyed.lab.reset()

    with Tunnel(keyed, keyed.proxies[-1]) as tunnel:
        tunnel.send(data)
        status = heard(tunnel)

    assert status is None or 400 <= status < 500, what
    assert keyed.lab.calls() == []
    assert "Traceback" not in keyed.proxies[-1].log.read_text()
    assert ask(keyed, request()).status == 200


def test_refusal_of_a_head_request_has_no_body_that_is_the_next_answer(keyed: World) -> None:
    with Tunnel(keyed, keyed.proxies[-1]) as tunnel:
        tunnel.send(request(b"", method="HEAD", path="/v1/nonsense", length=False) + request())

        first, second = tunnel.head(), tunnel.hear()

    assert first.startswith(b"HTTP/1.1 403")
    assert second.status == 200


def heard(tunnel: Tunnel) -> int | None:
    """The status of the answer, or None when the connection ended without one."""
    try:
        return tunnel.hear().status
    except (ConnectionError, ValueError):
        return None


def test_bytes_sent_ahead_of_an_answer_are_bounded(keyed: World) -> None:
    """A second request may wait behind the first; a flood of them ends the connection."""
    keyed.lab.reset()
    keyed.lab.order("first_delay=8")
    with Tunnel(keyed, keyed.proxies[-1]) as tunnel:
        tunnel.send(request())
        keyed.lab.calls(received=1)
        tunnel.send(request() * 2000)

        assert tunnel.hear().status == 431
    wait(lambda: keyed.books()["open"] == 0)
    assert len(keyed.lab.calls()) == 1


# ------------------------------------------------------------------ endpoints and models

PATHS = [
    "/v1/chat/completions/", "/v1//chat/completions", "/v1/./chat/completions", "/v1/x/../chat/completions",
    "/v1/chat%2Fcompletions", "/V1/chat/completions", "/v1/chat/completions;x", "/v1/chat/completions%00",
    "/v1/files", "/v1/files/file-of-another", "/v1/batches/batch_1", "/v1/responses/resp_1",
    "/v1/assistants/asst_1", "/v1/threads/thread_1/messages", "/v1/vector_stores/vs_1/search",
    "/v1/conversations/conv_1/items", "/v1/containers/cntr_1/files", "/v1/organization/admin_api_keys",
    "/v1/organization/costs", "/v1/fine_tuning/jobs", "/v1/uploads", "/v1/evals", "/v1/realtime/sessions",
    "/v1/models/gpt-4o-mini/../../files",
]  # fmt: skip
LOOKED_AT = ("/v1/files", "/v1/batches", "/v1/fine_tuning")


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_unlisted_endpoint_and_object_of_others_gets_neither_key_nor_answer(
    keyed: World, path: str, method: str
) -> None:
    keyed.lab.reset()
    before = len(records(keyed, "refused"))

    said = ask(keyed, request(method=method, path=path, body=b""))

    stays_here(keyed, said)
    assert said.status == 403
    by_id = path.startswith(("/v1/responses/", "/v1/conversations/"))
    if method == "GET" and path.startswith(LOOKED_AT):
        assert said.code == "policy_denied"
        return
    assert said.code in ({"policy_denied", "unknown_endpoint"} if by_id else {"unknown_endpoint"})
    assert len(records(keyed, "refused")) == before + 1


NAMED: list[tuple[str, str, dict[str, Any], str]] = [
    ("api.openai.com", "/v1/responses", {"model": "gpt-4o-mini", "input": "go on", "previous_response_id": "resp_1"}, "previous_response_id"),
    ("api.openai.com", "/v1/responses", {"model": "gpt-4o-mini", "input": [{"id": "msg_1"}]}, "item_reference"),
    ("api.openai.com", "/v1/conversations", {"items": [{"role": "user", "content": [{"type": "input_file", "file_id": "file-1"}]}]}, "file_id"),
    ("api.openai.com", "/v1/responses", {"model": "gpt-4o-mini", "input": "go on", "conversation": {"id": "conv_1"}}, "conversation"),
    ("api.openai.com", "/v1/responses", {"model": "gpt-4o-mini", "input": [{"type": "item_reference", "id": "msg_1"}]}, "item_reference"),
    ("api.openai.com", "/v1/responses", {"model": "gpt-4o-mini", "input": [{"role": "user", "content": [{"type": "input_file", "file_id": "file-1"}]}]}, "file_id"),
    ("api.openai.com", "/v1/responses", {"model": "gpt-4o-mini", "input": "x", "tools": [{"type": "file_search", "vector_store_ids": ["vs_1"]}]}, "vector_store_ids"),
    ("api.openai.com", "/v1/chat/completions", CHAT | {"messages": [{"role": "user", "content": [{"type": "file", "file": {"file\u005fid": "file-1"}}]}]}, "file_id"),
    ("api.anthropic.com", "/v1/messages", {"model": "claude-haiku-4-5", "max_tokens": 5, "messages": [{"role": "user", "content": [{"type": "document", "source": {"type": "file", "file_id": "file_1"}}]}]}, "file_id"),
    ("api.anthropic.com", "/v1/messages", {"model": "claude-haiku-4-5", "max_tokens": 5, "container": "cont_1", "messages": [{"role": "user", "content": "x"}]}, "container"),
    ("generativelanguage.googleapis.com", "/v1beta/models/gemini-2.5-flash:generateContent", {"contents": [{"parts": [{"text": "x"}]}], "cachedContent": "cachedContents/1"}, "cachedContent"),
    ("generativelanguage.googleapis.com", "/v1beta/models/gemini-2.5-flash:generateContent", {"contents": [{"parts": [{"fileData": {"fileUri": "https://generativelanguage.googleapis.com/v1beta/files/1"}}]}]}, "fileUri"),
]  # fmt: skip


@pytest.mark.parametrize(("host", "path", "body", "name"), NAMED)
def test_call_with_the_operators_key_names_no_object_that_may_be_anothers(
    keyed: World, host: str, path: str, body: dict[str, Any], name: str
) -> None:
    keyed.lab.reset()

    said = ask(keyed, request(body, host=host, path=path), host)

    stays_here(keyed, said)
    assert said.status == 403
    assert f"{name} names something that the provider keeps" in said.body.decode()


def test_agent_with_a_key_of_its_own_may_name_its_own_objects(keyed: World) -> None:
    keyed.lab.reset()
    _, _, body, _ = NAMED[0]

    said = ask(keyed, request(body, path="/v1/responses"), agent="own-key")

    assert said.status == 200
    assert len(keyed.lab.calls()) == 1


@pytest.mark.parametrize(
    ("agent", "body", "status"),
    [
        ("strict", CHAT | {"future_parameter": 1}, 403),
        ("strict", CHAT, 200),
        ("reader", CHAT, 403),
        ("lists", CHAT | {"model": "no-such-model"}, 403),
        ("lists", CHAT | {"model": "gpt-4o"}, 403),
        ("lists", CHAT, 200),
    ],
)
def test_strict_scope_and_models_hold(
    keyed: World, agent: str, body: dict[str, Any], status: int
) -> None:
    keyed.lab.reset()

    said = ask(keyed, request(body), agent=agent)

    assert said.status == status
    assert len(keyed.lab.calls()) == (status == 200)


def test_model_of_the_path_is_the_model_of_the_body(keyed: World) -> None:
    keyed.lab.reset()
    body = {"model": "models/gemini-2.5-pro", "contents": [{"parts": [{"text": "x"}]}]}
    host, path = (
        "generativelanguage.googleapis.com",
        "/v1beta/models/gemini-2.5-flash:generateContent",
    )

    stays_here(keyed, ask(keyed, request(body, host=host, path=path), host))


# ------------------------------------------------------------------ keys and spoofing

CREDENTIALS: list[tuple[str, str]] = [
    ("Authorization", "Bearer sk-mine"),
    ("x-api-key", "mine"),
    ("api-key", "mine"),
    ("x-goog-api-key", "mine"),
    ("OpenAI-Organization", "org-mine"),
    ("OpenAI-Project", "proj-mine"),
    ("x-goog-user-project", "mine"),
    ("Cookie", "session=mine"),
    ("Proxy-Authorization", "Basic bWluZQ=="),
]


@pytest.mark.parametrize(
    ("host", "path", "body"),
    [
        ("api.openai.com", "/v1/chat/completions", CHAT),
        ("api.anthropic.com", "/v1/messages", CHAT | {"model": "claude-haiku-4-5"}),
        ("generativelanguage.googleapis.com", "/v1beta/models/gemini-2.5-flash:generateContent?key=mine&api_key=mine&%6bey=mine",
         {"contents": [{"parts": [{"text": "x"}]}]}),
    ],
)  # fmt: skip
def test_injected_key_replaces_every_credential_in_every_spelling(
    keyed: World, host: str, path: str, body: dict[str, Any]
) -> None:
    keyed.lab.reset()
    twice = [*CREDENTIALS, *((name.upper(), value) for name, value in CREDENTIALS)]

    said = ask(keyed, request(body, host=host, path=path, fields=twice), host)

    [call] = keyed.lab.calls()
    head = base64.b64decode(call["head_base64"]).decode()
    assert said.status == 200
    assert head.count(OPENAI_KEY) == 1
    assert "mine" not in head


def test_nothing_that_an_agent_says_of_itself_makes_it_another(keyed: World) -> None:
    """No header names the caller: not ours, not a second token, not a proxy's notes."""
    keyed.lab.reset()
    spoofed = [
        ("X-Tollkeeper-Agent", "own-key"),
        ("X-Tollkeeper-Run", "stolen"),
        ("X-Tollkeeper-Id", "1"),
        ("X-Tollkeeper-Priority", "high"),
        ("X-Forwarded-For", "10.0.0.1"),
        ("Forwarded", "for=operator"),
        ("Proxy-Authorization", credentials(keyed, "own-key").decode().split(" ", 1)[1].strip()),
    ]

    said = ask(keyed, request(CHAT | {"model": "gpt-4o"}, fields=spoofed), agent="lists")
    passed = ask(keyed, request(fields=spoofed), agent="lists")

    assert (said.status, said.code, passed.status) == (403, "policy_denied", 200)
    [call] = keyed.lab.calls()
    names = {name.lower() for name, _ in call["headers"]}
    assert not {one for one in names if one.startswith(("x-tollkeeper", "proxy-auth"))}
    ledger = keyed.ledger()
    newest = list(ledger.rows("select agent from calls order by at_ns desc, id desc limit 2"))
    ledger.close()
    assert {row["agent"] for row in newest} == {"lists"}


@pytest.mark.parametrize("name", ["X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override"])
def test_method_is_not_overridden(keyed: World, name: str) -> None:
    keyed.lab.reset()

    stays_here(keyed, ask(keyed, request(fields=[(name, "DELETE")])))
