"""Credentials, kept below the flow: what a flow shows is never what authenticates.

At the headers every credential of the agent is taken out of the flow, a note stands in its place.
When the request leaves, ``dress`` puts the agent's own back where they stood, or the injected key.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import unquote_plus
from weakref import WeakKeyDictionary

from mitmproxy import http

from tollkeeper import facts
from tollkeeper.core.billing import with_payer
from tollkeeper.core.keys import sent_to
from tollkeeper.domain import Call, KeySource, Provider
from tollkeeper.proxy.quick import twin
from tollkeeper.proxy.quick_headers import QuickHeaders

NOTE = b"[kept out of the flow by Tollkeeper]"


_PROTOCOLS = {
    "openai-insecure-api-key.": (b"authorization", b"Bearer "),
    "openai-organization.": (b"openai-organization", b""),
    "openai-project.": (b"openai-project", b""),
}
"""What browsers, which can set no headers, hide among the subprotocols of a WebSocket.

Source: https://developers.openai.com/api/docs/guides/realtime-websocket
"""


class MissingKeyError(LookupError):
    """A key that the policy wants to inject cannot be read."""


@dataclass(slots=True)
class Wardrobe:
    """What one flow puts on when it leaves.

    Attributes:
        headers: The agent's own credential fields, in order, name and value as sent.
        query: The query string as sent, when a part of it was a credential.
        strip: True when none of the agent's own may leave.
        inject: Header name and value of the key to put in their place, or None.
    """

    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    query: str | None = None
    strip: bool = False
    inject: tuple[str, str] | None = None


class Outgoing:
    """The wardrobes of all live flows."""

    def __init__(self) -> None:
        """Nothing is kept yet."""
        self.wardrobes: WeakKeyDictionary[http.HTTPFlow, Wardrobe] = WeakKeyDictionary()

    def undress(self, flow: http.HTTPFlow) -> Wardrobe:
        """Take every credential out of the flow; returns what was taken."""
        wardrobe = Wardrobe()
        secret = facts.credential_headers()
        fields: list[tuple[bytes, bytes]] = []
        for name, value in flow.request.headers.fields:
            if name.lower().decode("latin-1") in secret:
                wardrobe.headers.append((name, value))
                fields.append((name, NOTE))
            else:
                fields.append((name, value))
        if wardrobe.headers:
            flow.request.headers.fields = tuple(fields)
        path, mark, query = flow.request.path.partition("?")
        if mark:
            kept = [part for part in query.split("&") if not _is_credential(part)]
            if len(kept) != query.count("&") + 1:
                wardrobe.query = query
                flow.request.path = path + ("?" + "&".join(kept) if kept else "")
        self.wardrobes[flow] = wardrobe
        return wardrobe

    def plain_socket(self, flow: http.HTTPFlow) -> None:
        """Ask for a WebSocket whose frames are read as they come, its credentials in headers only.

        A credential among its subprotocols becomes the header that says the same, so that it is kept
        below the flow and replaced like any other; where that header is there too, it counts.
        """
        headers, wardrobe = flow.request.headers, self.wardrobes[flow]
        headers.pop("sec-websocket-extensions", None)
        offered = headers.pop("sec-websocket-protocol", None)
        if offered is None:
            return
        plain = []
        for protocol in filter(None, (one.strip() for one in offered.split(","))):
            start, dot, secret = protocol.partition(".")
            hidden = _PROTOCOLS.get(start + dot)
            if hidden is None:
                plain.append(protocol)
            elif hidden[0].decode() not in headers:
                wardrobe.headers.append(
                    (hidden[0], hidden[1] + secret.encode("latin-1", "replace"))
                )
                headers.fields = (*headers.fields, (hidden[0], NOTE))
        if plain:
            headers["sec-websocket-protocol"] = ", ".join(plain)

    def as_sent(self, flow: http.HTTPFlow, provider: Provider, call: Call) -> Call:
        """The call with what its credentials say of it: a plan's, a signature's; and whose its host is."""
        own = self.wardrobes[flow]
        headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in own.headers]
        call = with_payer(call, provider, headers, own.query is not None)
        call = sent_to(call, provider, flow.request.host)
        return replace(call, signed=True) if self.signed(flow) else call

    def signed(self, flow: http.HTTPFlow) -> bool:
        """Whether a signature of the agent's covers the request, as AWS has it.

        Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv.html
        """
        wardrobe = self.wardrobes.get(flow)
        named = wardrobe.headers if wardrobe is not None else ()
        return any(
            name.lower() == b"authorization" and value.lstrip().upper().startswith(b"AWS4-")
            for name, value in named
        )

    def dress(self, flow: http.HTTPFlow, request: http.Request) -> http.Request:
        """The request that leaves instead of the flow's own; the flow stays as it is."""
        wardrobe = self.wardrobes.get(flow)
        if wardrobe is None:
            return request
        if not wardrobe.headers and not wardrobe.strip and wardrobe.query is None:
            return request
        dressed = twin(request)
        dressed.data.headers = QuickHeaders()
        dressed.data.headers.fields = tuple(self._fields(wardrobe, request))
        if not wardrobe.strip and wardrobe.query is not None:
            dressed.path = f"{request.path.partition('?')[0]}?{wardrobe.query}"
        return dressed

    @staticmethod
    def _fields(wardrobe: Wardrobe, request: http.Request) -> list[tuple[bytes, bytes]]:
        own = iter(wardrobe.headers)
        if not wardrobe.strip:
            return [next(own, one) if is_noted(*one) else one for one in request.headers.fields]
        if wardrobe.inject is None:
            return [one for one in request.headers.fields if not is_noted(*one)]
        name, value = wardrobe.inject
        fields: list[tuple[bytes, bytes]] = []
        put = False
        for field_name, field_value in request.headers.fields:
            if not is_noted(field_name, field_value):
                fields.append((field_name, field_value))
            elif field_name.lower() == name.encode() and not put:
                fields.append((field_name, value.encode()))
                put = True
        return fields if put else [*fields, (name.encode(), value.encode())]


def is_noted(name: bytes, value: bytes) -> bool:
    """Whether a credential stood here; an agent may send the note's words in any other header."""
    return value == NOTE and name.lower().decode("latin-1") in facts.credential_headers()


def _is_credential(part: str) -> bool:
    return unquote_plus(part.partition("=")[0]).lower() in facts.credential_query()


def read_key(source: KeySource) -> str:
    """The provider's real key, read anew at each use.

    Raises:
        MissingKeyError: When the environment or the file does not have it.
    """
    if source.env is not None:
        value = os.environ.get(source.env, "").strip()
        if not value:
            raise MissingKeyError(f"the environment variable {source.env} is not set")
        return value
    assert source.file is not None
    try:
        value = Path(source.file).expanduser().read_text(encoding="utf-8").strip()
    except OSError as error:
        raise MissingKeyError("its key file cannot be read") from error
    if not value:
        raise MissingKeyError("its key file is empty")
    return value
