"""What one answer's events or document have said: usage, texts, objects, the end.

Events are only read as JSON when they have text or their bytes name a usage object. A dialect's
differences are the branches of ``ConversationReading``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final

from tollkeeper.domain import Call, Dialect, Usage
from tollkeeper.wire import usage as figures
from tollkeeper.wire.made import Made
from tollkeeper.wire.seen import Seen
from tollkeeper.wire.served import Served

NAMES_USAGE: Final = re.compile(rb'"usage(?:Metadata)?"\s*:\s*\{')
NO_CHOICES: Final = re.compile(rb'"choices"\s*:\s*\[\s*\]')
_DELTA: Final = re.compile(rb'"delta"\s*:\s*(?!\{\s*\}|null)')
_FINISHED: Final = re.compile(rb'"finishReason"\s*:\s*"')
_ENDS: Final = re.compile(rb'"type"\s*:\s*"response\.(?:completed|incomplete|failed)"')
_STOP: Final = re.compile(rb'"type"\s*:\s*"message_stop"')
_AT_END: Final = re.compile(rb'"type"\s*:\s*"message_delta"')
_STARTED: Final = re.compile(rb'"type"\s*:\s*"content_block_start"')


class ConversationReading:
    """What one answer's events have said; a dialect's differences are its branches."""

    def __init__(self, dialect: Dialect, provider: str) -> None:
        self._dialect = dialect
        self._provider = provider
        self._raw: dict[str, Any] = {}
        self._model: str | None = None
        self._tier: str | None = None
        self._served = Served(dialect)
        self._told_at_end = False
        self.seen = Seen(dialect)
        self.made = Made(dialect)
        self.begun = False
        self.done = False

    def event(self, data: bytes) -> None:
        """One event's payload; of one that was cut, the texts are counted."""
        self.begun = self.begun or data.lstrip()[:1] == b"{"
        self._served.event(data)
        names_usage = NAMES_USAGE.search(data) is not None
        names_objects = self.made.concerns(data)
        if self._count(data):
            self.done = False
        elif not names_usage and not names_objects:
            self._end(data, names_usage)
            return
        event = parsed(data)
        self.seen.read(event)
        if names_usage:
            self._absorb(event)
            self._told_at_end = self._told_at_end or _AT_END.search(data) is not None
        if names_objects:
            self.made.read(event)
        if event is not None:
            self._end(data, names_usage)

    def _count(self, data: bytes) -> bool:
        """Bound the texts of an event; whether it may have any."""
        before = self.seen.most_tokens
        match self._dialect:
            case Dialect.OPENAI_CHAT:
                self.seen.bound(data, data.find(b'"choices"'))
            case Dialect.OPENAI_RESPONSES:
                if b'.delta"' in data and not _ENDS.search(data):
                    self.seen.bound(data, 0)
            case Dialect.ANTHROPIC:
                if _DELTA.search(data) or _STARTED.search(data):
                    self.seen.bound(data, 0)
            case Dialect.BEDROCK_CONVERSE:
                self.seen.bound(data, 0)
            case Dialect.GEMINI:
                self.seen.bound(data, 0)
        return self.seen.most_tokens > before

    def _end(self, data: bytes, names_usage: bool) -> None:
        """Whether this is the answer's own end."""
        match self._dialect:
            case Dialect.OPENAI_CHAT:
                told = names_usage and NO_CHOICES.search(data) is not None
                self.done = self.done or told or data.rstrip() == b"[DONE]"
            case Dialect.OPENAI_RESPONSES:
                self.done = self.done or _ENDS.search(data) is not None
            case Dialect.ANTHROPIC:
                # The first event's usage is not what it came to.
                self.done = self.done or (self._told_at_end and _STOP.search(data) is not None)
            case Dialect.BEDROCK_CONVERSE:
                self.done = self.done or bool(self._raw)
            case Dialect.GEMINI:
                finished = _FINISHED.search(data) is not None
                self.done = self.done or (finished and bool(self._raw))

    def document(self, value: Any) -> None:
        """A whole answer that is not streamed."""
        if isinstance(value, dict):
            self._absorb(value)
            self.made.read(value)

    def _absorb(self, answer: Any) -> None:
        """Take over the figures of an answer or event."""
        if not isinstance(answer, dict):
            return
        for outer in ("message", "response"):
            if isinstance(answer.get(outer), dict) and "usage" not in answer:
                answer = answer[outer]
        self._served.answer(answer)
        usage = _usage_in(answer)
        if usage:
            self._merge(usage)
        model = answer.get("model", answer.get("modelVersion"))
        if isinstance(model, str) and model:
            self._model = model
        tier = answer.get("serviceTier")
        told = tier.get("type") if isinstance(tier, dict) else None
        said = figures.tier_in(usage or {}, answer) or told
        self._tier = said if isinstance(said, str) and said else self._tier

    def _merge(self, usage: Mapping[str, Any]) -> None:
        """Figures only ever grow during an answer; a later 0 takes nothing back."""
        for key, value in usage.items():
            before = figures.number(self._raw.get(key))
            now = figures.number(value)
            if value is not None and not (before is not None and now is not None and now < before):
                self._raw[key] = value

    def usage(self) -> Usage | None:
        """The figures so far, or None when there are none."""
        if not self._raw:
            uses = self._served.uses()
            return Usage(server_tools=uses) if uses else None
        raw, said = self._raw, figures.Said(self._model, self._tier)
        match self._dialect:
            case Dialect.OPENAI_CHAT:
                read = figures.openai_chat(raw, self._provider, said)
            case Dialect.OPENAI_RESPONSES:
                read = figures.openai_responses(raw, said)
            case Dialect.ANTHROPIC:
                read = figures.anthropic(raw, said)
            case Dialect.BEDROCK_CONVERSE:
                read = figures.bedrock(raw, said)
            case _:
                read = figures.gemini(raw, said)
        return figures.with_uses(read, self._served)


class OneUsage:
    """What an answer has said that tells its usage in one place; a kind of answer says where."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self._usage: Usage | None = None
        self.seen = Seen(call.dialect)
        self.made = Made(call.dialect)
        self.begun = False
        self.done = False

    def usage(self) -> Usage | None:
        """What the provider said so far, or None."""
        return self._usage


class WholeReading(OneUsage):
    """The same of an answer that comes in one piece."""

    def event(self, data: bytes) -> None:
        """These answers are not streamed; what comes as events is only counted."""
        self.begun = True
        self.seen.most_tokens += len(data)


def _usage_in(answer: Mapping[str, Any]) -> dict[str, Any] | None:
    """The usage object, wherever a provider puts it.

    Source: https://console.groq.com/docs/api-reference (``x_groq.usage``)
    """
    for holder in (answer, answer.get("x_groq")):
        if isinstance(holder, dict):
            for key in ("usage", "usageMetadata"):
                if isinstance(holder.get(key), dict):
                    return dict(holder[key])
    return None


def parsed(data: bytes) -> Any:
    """JSON of an answer, or None; an answer is never refused for being unreadable."""
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None


def parsed_object(data: bytes) -> dict[str, Any] | None:
    """The same of a JSON object; None for every other value too."""
    value = parsed(data)
    return value if isinstance(value, dict) else None
