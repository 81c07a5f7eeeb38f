"""More than a provider can bill for the input of a call, from the bytes of the call alone.

Why bytes bound tokens
    A byte-level BPE token covers at least one byte of UTF-8, and a SentencePiece token at least one
    character or, falling back, one byte; so text never has more tokens than bytes. Tokenizers that
    normalise first (NFKC) may make text longer before they cut it, so the larger of the text's
    UTF-8 length and that of its NFKC form counts. Lengths are taken of the canonical JSON of each
    message, which holds every character of its strings (escapes only make it longer).

What a provider adds
    Role markers, separators and the markup around a tool call are paid for by the JSON's own keys,
    quotes and braces and, where those could be too few, by the allowances below. Hidden prompts
    come from ``facts`` (``hidden_input_tokens``).

What bytes do not bound
    An image is billed by its size, not its bytes: its data is taken out and
    ``facts.image_bound_tokens`` put in, for its own size where the data shows it. Compressed documents and video, and everything that the
    provider keeps and the call only names (``previous_response_id``, file ids, caches), make the
    input *opaque*: the bound is then the model's context window. Encrypted blocks that a provider
    handed out earlier (reasoning, compaction) are not shorter than the tokens in them, because
    ciphertext in base64 is longer than its plain text. Compressed audio at the lowest bit rates in
    use (under 1 kB/s) still has far more bytes than the 10 to 32 tokens per second that are billed.
    Source: https://ai.google.dev/gemini-api/docs/audio (32 tokens per second)

Why it is not wasteful
    Each turn has a digest chained over all that comes before it and all that changes how the input
    is rendered. The ledger knows what a call with the same chain was billed, so of a conversation
    only the new turns count by their bytes.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from tollkeeper import facts
from tollkeeper.domain import Dialect, Turn
from tollkeeper.wire.document import canonical, encoded
from tollkeeper.wire.image import size_of
from tollkeeper.wire.schema import unrolled_tokens

HEAD_ALLOWANCE: Final = 64
"""Start-of-prompt markers, dates and the empty system prompt that some templates add."""

TURN_ALLOWANCE: Final = 16
"""Role markers and separators around one message; chat templates use 3 to 8 tokens."""

TOOL_CALL_ALLOWANCE: Final = 32
"""Markup around one tool call or its result, when it is rendered as tags and not as JSON."""

ARGUMENT_ALLOWANCE: Final = 12
"""Opening and closing tag of one top-level argument of a tool call rendered as tags."""

PROMPT_BYTES: Final = 64 * 1024
"""What rules may match of a prompt; patterns run over bounded text."""


def text_bound(text: str) -> int:
    """Tokens that ``text`` cannot exceed: the larger UTF-8 length of itself and its NFKC form."""
    if text.isascii():
        return len(text)
    plain = len(encoded(text))
    if unicodedata.is_normalized("NFKC", text):
        return plain
    return max(plain, len(unicodedata.normalize("NFKC", text).encode()))


def head_bound(head: Mapping[str, Any], text: str) -> int:
    """Tokens that everything but the turns cannot exceed, hidden prompts aside.

    Args:
        head: What is not of one turn.
        text: Its canonical text, which may hold more than ``head``.
    """
    return text_bound(text) + unrolled_tokens(head, text) + HEAD_ALLOWANCE


@dataclass(slots=True)
class Tally:
    """What a dialect finds while it walks over one message.

    Attributes:
        dialect: Decides, with the model, what an image may be billed.
        less_bytes: Inline media whose bytes are not billed as text.
        more_tokens: Images and allowances.
        opaque: What is not in the bytes, the first of it.
        kept: Whether any of that is more than documents, videos and files.
        unsized: How many of those there are.
        texts: For rules, in order.
    """

    dialect: Dialect
    model: str
    less_bytes: int = 0
    more_tokens: int = 0
    opaque: str | None = None
    kept: bool = False
    unsized: int = 0
    features: set[str] = field(default_factory=set)
    texts: list[str] = field(default_factory=list)
    tools: list[str] = field(default_factory=list)
    server_tools: list[str] = field(default_factory=list)

    def image(self, inline: str = "") -> None:
        """One image, with its inline data when it is in the message."""
        self.features.add("vision")
        self.less_bytes += len(encoded(inline))
        size = size_of(inline) if inline else None
        self.more_tokens += facts.image_bound_tokens(self.dialect, self.model, size)

    def hide(self, what: str) -> None:
        """Something that the bytes do not show."""
        self.kept = True
        if self.opaque is None:
            self.opaque = what

    def file(self, what: str, inline: object = None) -> None:
        """A document, a video or a file, whose size in tokens is not that of its bytes."""
        self.unsized += 1
        if isinstance(inline, str):
            self.less_bytes += len(encoded(inline))
        if self.opaque is None:
            self.opaque = what

    @property
    def unsized_parts(self) -> int:
        """Of a call that is opaque by nothing else."""
        return 0 if self.kept else self.unsized

    def tool_call(self, arguments: object = None) -> None:
        """A tool call or a result, which may be rendered with markup of its own."""
        self.more_tokens += TOOL_CALL_ALLOWANCE
        if isinstance(arguments, dict):
            self.more_tokens += ARGUMENT_ALLOWANCE * len(arguments)

    def text(self, value: object) -> None:
        """A text that rules may match; what is no text is left to the provider to refuse."""
        if isinstance(value, str):
            self.texts.append(value)


def chain(
    head: str,
    messages: Iterable[Any],
    tally: Tally,
    walk: Callable[[Any, Tally], None],
    strip: Callable[[Any, str], str],
) -> tuple[Turn, ...]:
    """The turns of a conversation.

    Args:
        head: Canonical text of all that changes how the input is rendered.
        messages: In order.
        tally: Gathers over all messages what is not of one message.
        walk: Tells the tally about one message.
        strip: The canonical text of a message without what never changes its tokens (cache marks),
            from the message and its canonical text.
    """
    digest = hashlib.sha256(encoded(head)).digest()
    turns = []
    for message in messages:
        tally.less_bytes = 0
        tally.more_tokens = TURN_ALLOWANCE
        walk(message, tally)
        text = canonical(message)
        bound = text_bound(text) - tally.less_bytes + tally.more_tokens
        digest = hashlib.sha256(digest + encoded(strip(message, text))).digest()
        turns.append(Turn(digest.hex(), max(bound, tally.more_tokens)))
    return tuple(turns)


def prompt_of(texts: list[str]) -> str:
    """The texts joined by newlines; of more than 64 KiB the newest."""
    kept: list[str] = []
    size = 0
    for text in reversed(texts):
        kept.append(text)
        size += len(text) + 1
        if size > PROMPT_BYTES:
            break
    joined = "\n".join(reversed(kept))[-PROMPT_BYTES:]
    if joined.isascii():
        return joined
    return encoded(joined)[-PROMPT_BYTES:].decode("utf-8", "ignore")


def approval_digest(
    parts: Iterable[str], body: Mapping[str, Any], resent: frozenset[str], turns: tuple[Turn, ...]
) -> str:
    """What an approval is bound to: all of the call but what a resend of it changes.

    Args:
        parts: Dialect, provider, operation and model.
        body: All members that are not turns.
        resent: Members that differ between a call and its resend.
        turns: Their chain stands for the messages.
    """
    rest = {key: value for key, value in body.items() if key not in resent}
    last = turns[-1].digest if turns else ""
    return hashlib.sha256(encoded(canonical([*parts, rest, last]))).hexdigest()
