"""A request as the house reads it: decoded within bounds, its target beyond doubt."""

from __future__ import annotations

import zlib
from collections.abc import Mapping

import brotli
import zstandard
from mitmproxy import http
from mitmproxy.net.http.url import parse_authority

from tollkeeper import facts
from tollkeeper.domain import Code, Effect, Provider, Reason
from tollkeeper.errors import WireError
from tollkeeper.proxy.station import Caller
from tollkeeper.wire.dialect import Inbound

CONTROL_PREFIX = b"x-tollkeeper-"
SAID = ("step", "step-type", "priority", "project")
SAID_LIMIT_CHARACTERS = 128

METHOD_OVERRIDES = frozenset({"x-http-method-override", "x-http-method", "x-method-override"})
"""Some servers act by these and not by the method that was judged.

Source: https://cloud.google.com/apis/docs/system-parameters
"""


def read(flow: http.HTTPFlow, provider: Provider, limit_bytes: int) -> Inbound:
    """The request with its body decoded.

    Raises:
        WireError: When the body is over the limit or its content encoding cannot be undone.
    """
    raw = flow.request.raw_content or b""
    if len(raw) > limit_bytes:
        raise WireError(f"The body has {len(raw)} bytes; at most {limit_bytes} are read.")
    headers = headers_of(flow.request)
    encoding = headers.get("content-encoding", "").strip().lower()
    body = raw if encoding in ("", "identity") else undo(raw, encoding, limit_bytes)
    path, _, query = flow.request.path.partition("?")
    return Inbound(provider, flow.request.method, path, query, headers, body, flow.request.host)


def headers_of(request: http.Message) -> dict[str, str]:
    """Header values by lower-case name, those of one name joined by a comma.

    Read once, because mitmproxy's ``Headers`` goes over all fields for every name it is asked for.
    """
    headers: dict[str, str] = {}
    for raw_name, raw_value in request.headers.fields:
        name, value = raw_name.lower().decode("latin-1"), raw_value.decode("latin-1")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers


def undo(raw: bytes, encoding: str, limit_bytes: int) -> bytes:
    """Undo one content encoding, never making more than ``limit_bytes``.

    Raises:
        WireError: Unknown or broken encoding, or a result over the limit.
    """
    try:
        match encoding:
            case "gzip" | "x-gzip":
                body, whole = inflate(raw, 16 + zlib.MAX_WBITS, limit_bytes + 1)
            case "deflate":
                body, whole = inflate(raw, zlib.MAX_WBITS, limit_bytes + 1)
            case "zstd":
                body, whole = unpack(raw, limit_bytes + 1)
            case "br":
                undone = brotli.Decompressor()
                body = undone.process(raw, output_buffer_limit=limit_bytes + 1)
                whole = undone.is_finished()
            case _:
                raise WireError(
                    f"Content-Encoding {encoding!r} is not read; send gzip, deflate, br, zstd or none."
                )
    except (zlib.error, brotli.error, zstandard.ZstdError) as error:
        raise WireError(f"The body is not valid {encoding}.") from error
    if len(body) > limit_bytes:
        raise WireError(f"The decoded body has more than {limit_bytes} bytes.")
    if not whole:
        raise WireError(f"The body is not exactly one whole {encoding} stream.")
    return body


def inflate(raw: bytes, window_bits: int, most_bytes: int) -> tuple[bytes, bool]:
    """Up to ``most_bytes`` of one zlib stream, and whether it was all of ``raw`` and whole.

    A second stream behind the first would be read by some servers and not by others.
    """
    undone = zlib.decompressobj(window_bits)
    body = undone.decompress(raw, most_bytes)
    return body, undone.eof and not undone.unused_data


def unpack(raw: bytes, most_bytes: int) -> tuple[bytes, bool]:
    """As ``inflate``, of one zstd frame."""
    with zstandard.ZstdDecompressor().stream_reader(raw, read_across_frames=False) as undone:
        body = undone.read(most_bytes)
    frame = zstandard.ZstdDecompressor().decompressobj()
    if len(body) < most_bytes:
        frame.decompress(raw)
    return body, frame.eof and not frame.unused_data


def likeness(request: http.Request) -> tuple[object, ...]:
    """All of a request that leaves, for comparing what was judged with what is about to be sent."""
    trailers = request.trailers
    return (
        request.method,
        request.scheme,
        request.host,
        request.port,
        request.authority,
        request.path,
        request.headers.fields,
        trailers.fields if trailers else None,
        request.raw_content,
    )


STREAMED = ((":streamGenerateContent", ":generateContent"), (":streamRawPredict", ":rawPredict"),
            ("/converse-stream", "/converse"), ("/invoke-with-response-stream", "/invoke"))  # fmt: skip
"""Paths that ask for a stream, and for the same answer whole: clients fall back from one to the other."""


def place_of(request: http.Request) -> str:
    """Where a request goes, which an approval is bound to: method, host, path and query.

    Whether it is streamed is left out, as in the dialects; credentials in the query are not there.
    """
    path, _, query = request.path.partition("?")
    for streamed, whole in STREAMED:
        path = path.replace(streamed, whole)
    query = "&".join(sorted(part for part in query.split("&") if not part.startswith("alt=")))
    return "".join([f"{len(t)}:{t}" for t in (request.method, request.host, path, query)])


def strip_control_headers(flow: http.HTTPFlow) -> dict[str, str]:
    """Take our own headers out of the request; returns what the agent said of itself in them."""
    said: dict[str, str] = {}
    kept = []
    for name, value in flow.request.headers.fields:
        lowered = name.lower()
        if not lowered.startswith(CONTROL_PREFIX):
            kept.append((name, value))
            continue
        key = lowered.removeprefix(CONTROL_PREFIX).decode("latin-1")
        if key in SAID:
            said[key.replace("-", "_")] = value.decode("utf-8", "replace")[:SAID_LIMIT_CHARACTERS]
    if len(kept) != len(flow.request.headers.fields):
        flow.request.headers.fields = tuple(kept)
    return said


def objection(flow: http.HTTPFlow, caller: Caller, headers: Mapping[str, str]) -> Reason | None:
    """Why this request may not be read at all: its target is in doubt, or it is an upgrade."""
    if caller.target is None:
        return denied("This request has no target.")
    request = flow.request
    sni, hosts = flow.client_conn.sni, request.headers.get_all("host")
    claims = (caller.target, sni, request.host, request.port, request.authority, *hosts)
    if claims != caller.proven:
        if not agree(flow, caller.target):
            return denied("The tunnel's target, SNI and Host header must be the same.")
        caller.proven = claims
    if not METHOD_OVERRIDES.isdisjoint(headers):
        return denied("A header that overrides the method is not forwarded.")
    if caller.provider is not None and request.scheme != "https":
        return denied("Providers are reached over https only.")
    return None


def agree(flow: http.HTTPFlow, target: tuple[str, int]) -> bool:
    """Whether all that names where a request goes names the target of its tunnel."""
    name, port = target
    told = [flow.request.host, *host_names(flow.request)]
    if flow.client_conn.tls_established:
        told.append(flow.client_conn.sni or "")
    same = all(facts.normalise_host(one) == name for one in told)
    return same and flow.request.port == port


def host_names(request: http.Request) -> list[str]:
    """The names that Host headers and the authority claim; ``""`` for an unreadable one."""
    names = []
    for claim in [*request.headers.get_all("host"), *filter(None, [request.authority])]:
        try:
            host, port = parse_authority(claim, check=True)
        except ValueError:
            return [""]
        names.append(host if port in (None, request.port) else "")
    return names


def denied(message: str) -> Reason:
    """A refusal at the door of a tunnel."""
    return Reason(Effect.DENY, Code.POLICY_DENIED, "tunnel", message)


def is_websocket(headers: Mapping[str, str]) -> bool:
    """Whether the request asks to switch to WebSocket."""
    return "websocket" in headers.get("upgrade", "").lower()
