"""Google Code Assist, as gemini-cli asks it on a plan: a Gemini request in an envelope.

The envelope names the model and the project; the answer stands under ``response``.

Source: https://github.com/google-gemini/gemini-cli/blob/main/packages/core/src/code_assist/converter.ts
(2026-08), https://protobuf.dev/programming-guides/json (field names)
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any, Final

from tollkeeper.domain import Call, Dialect
from tollkeeper.errors import WireError
from tollkeeper.wire import fields, gemini
from tollkeeper.wire.dialect import Endpoint, Inbound
from tollkeeper.wire.document import Document, Member, canonical, encoded, read, splice

KNOWN: Final = fields.words("""model project request userPromptId user_prompt_id enabledCreditTypes
    enabled_credit_types""")

RESENT: Final = fields.words("request userPromptId user_prompt_id")

_OF_THE_ENVELOPE: Final = fields.words("sessionId session_id")
"""Members of the inner request that Gemini itself does not have."""


def parse(inbound: Inbound, endpoint: Endpoint) -> Call:
    """A generation on a plan, streamed or not.

    Raises:
        WireError: For what is missing or of the wrong type.
    """
    document = read(inbound.body)
    body = document.values()
    model = (fields.text(body, "model") or "").removeprefix("models/")
    if not model:
        raise WireError("model is missing; name the model to call.")
    inner = encoded(_text(document, _request(document)))
    call = gemini.parse(replace(inbound, body=inner), replace(endpoint, model=model))
    rest = {key: value for key, value in body.items() if key not in RESENT}
    bound_to = canonical([rest, call.approval_digest])
    bought = bool(fields.items(body, gemini.spelled(body, "enabledCreditTypes")))
    gemini.spelled(body, "userPromptId")
    return replace(
        call,
        dialect=Dialect.CODE_ASSIST,
        features=call.features | {"credits"} if bought else call.features,
        unknown_parameters=(
            *(key for key in call.unknown_parameters if key not in _OF_THE_ENVELOPE),
            *(key for key in body if key not in KNOWN),
        ),
        approval_digest=hashlib.sha256(encoded(bound_to)).hexdigest(),
    )


def with_limit(document: Document, limit_tokens: int) -> bytes:
    """The body with an output limit in its inner request, every other byte as it was."""
    member = _request(document)
    inner = read(encoded(_text(document, member)))
    edits: dict[tuple[str, ...], Any] = {gemini.limit_key(inner): limit_tokens}
    text, changed = document.text, splice(inner, edits).decode()
    return encoded(text[: member.start] + changed + text[member.end :])


def _request(document: Document) -> Member:
    member = document.members.get("request")
    if member is None or not isinstance(member.value, dict):
        raise WireError("request is missing; an object with contents was expected.")
    return member


def _text(document: Document, member: Member) -> str:
    return document.text[member.start : member.end]
