"""What the simulated provider is told to do: ``[sim tokens=50 delay=0.02 cut=5]`` in a prompt.

The words may also come from the control port (``POST /script``); both are read by ``parse``.
"""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass, fields
from urllib.parse import unquote

from tollkeeper.errors import UsageError

_DIRECTIVE = re.compile(r"\[sim\s([^\]]*)\]")


@dataclass(frozen=True, slots=True)
class Script:
    """How one call is answered. Unset means as a healthy provider would.

    Attributes:
        tokens: Visible output tokens to generate; each is one word.
        text: What to say instead, percent-encoded in the directive; one token a word.
        chunks: How many pieces the visible output is sent in (default: a piece a token when
            streaming, one piece otherwise).
        split: Largest HTTP chunk in bytes, so that event borders and chunk borders differ.
        delay: Seconds between pieces.
        first_delay: Seconds before the status line.
        cut: Breaks the connection off after this many pieces.
        stall: Falls silent after this many pieces until the client leaves.
        hang: Takes the request and never answers.
        status: An error status instead of an answer.
        message: The error's sentence, percent-encoded.
        retry_after: Its ``retry-after`` header, seconds.
        input: Input tokens to bill instead of those counted.
        cache_read: Input tokens among them that came from the prompt cache.
        cache_write: Input tokens among them that were written to it (5 minutes).
        cache_write_1h: The same for an hour; not contained in ``cache_write``.
        reasoning: Output tokens spent on reasoning before the first word.
        tool: Name of a tool to call.
        args: Its arguments as JSON, percent-encoded; made up from the tool's schema if missing.
        model: The model name to answer with.
        service_tier: The service tier to answer with.
        no_usage: Leaves the usage out of the answer; it is billed all the same.
        unknown_usage: A key to put into the usage that nobody documented (value 1).
        ignore_limit: Generates past the request's output limit, as a broken provider would.
        encoding: ``gzip`` compresses the answer whether or not the client asked.
        plan: Who pays for a call with a plan's token: ``overage``, or ``nothing`` for no plan.
        polls: How often a background response is still in progress when it is asked for.
        raw: The body to answer with, base64url, instead of any dialect's.
    """

    tokens: int | None = None
    text: str | None = None
    chunks: int | None = None
    split: int | None = None
    delay: float = 0.0
    first_delay: float = 0.0
    cut: int | None = None
    stall: int | None = None
    hang: bool = False
    status: int | None = None
    message: str | None = None
    retry_after: str | None = None
    input: int | None = None
    cache_read: int = 0
    cache_write: int = 0
    cache_write_1h: int = 0
    reasoning: int = 0
    tool: str | None = None
    args: str | None = None
    model: str | None = None
    service_tier: str | None = None
    no_usage: bool = False
    unknown_usage: str | None = None
    ignore_limit: bool = False
    encoding: str | None = None
    plan: str | None = None
    polls: int = 1
    raw: str | None = None

    @property
    def raw_body(self) -> bytes:
        """``raw`` decoded; padding may be missing."""
        raw = self.raw or ""
        return base64.urlsafe_b64decode(raw + "=" * (-len(raw) % 4))


_TYPES = {field.name: str(field.type) for field in fields(Script)}


def find(text: str) -> str:
    """All directives of a prompt, as the words ``parse`` reads; empty when it has none."""
    return " ".join(_DIRECTIVE.findall(text))


def parse(words: str) -> Script:
    """Reads ``tokens=50 hang …``; of a name given twice the last counts.

    Raises:
        UsageError: A name that is no directive, or a value of the wrong kind.
    """
    values: dict[str, int | float | str | bool] = {}
    for word in words.split():
        name, _, value = word.partition("=")
        kind = _TYPES.get(name)
        if kind is None:
            raise UsageError(f"[sim {word}]: no such directive; known: {', '.join(sorted(_TYPES))}")
        try:
            values[name] = _value(kind, value)
        except ValueError as e:
            raise UsageError(f"[sim {word}]: expected {kind}") from e
    return Script(**values)  # type: ignore[arg-type]


def _value(kind: str, value: str) -> int | float | str | bool:
    if kind == "bool":
        return value not in ("0", "false", "no")
    if kind.startswith("int"):
        return int(value)
    if kind.startswith("float"):
        return float(value)
    return unquote(value)
