"""Counting the uses of tools that a provider runs and bills beside the tokens, from its answer.

Where the usage names them (Anthropic's web searches, xAI's server-side tools) the usage counts;
elsewhere each use leaves an item in the answer, which is counted once, by its id, whether it is met
in a stream's event or in the whole answer at its end.

Source: https://platform.openai.com/docs/guides/tools-web-search (only ``search`` actions are
billed), https://platform.openai.com/docs/guides/tools-code-interpreter (billed by container),
https://ai.google.dev/gemini-api/docs/google-search (Gemini 3 by unique query that is not empty,
older models by prompt), https://docs.anthropic.com/en/docs/agents-and-tools/tool-use/code-execution-tool,
https://platform.openai.com/docs/pricing#built-in-tools (containers of a hosted shell cost what those
of a code interpreter cost), ``ExecutedTool`` of the ``groq`` 1.7 package
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final

from tollkeeper.domain import Dialect

_ITEM_DONE: Final = re.compile(rb'"type"\s*:\s*"response\.output_item\.done"')
_EXECUTED: Final = re.compile(rb'"executed_tools"\s*:\s*\[')
_SERVED_BLOCK: Final = re.compile(rb'"type"\s*:\s*"server_tool_use"')
_BILLED_ITEMS: Final[Mapping[str, str]] = {
    "web_search_call": "web_search",
    "x_search_call": "x_search",
    "file_search_call": "file_search",
    "code_interpreter_call": "code_interpreter",
    "shell_call": "code_interpreter",
    "image_generation_call": "image_generation",
}
_BY_PROMPT: Final = re.compile(r"(models/)?gemini-(1|2)\b")
_MOST: Final = 10_000
"""Uses that are remembered of one answer; tool loops end far below."""


class Served:
    """The uses of one answer."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self._uses: set[tuple[str, str]] = set()

    def __bool__(self) -> bool:
        """Whether any was met."""
        return bool(self._uses)

    def event(self, data: bytes) -> None:
        """One event of a stream; only those that may name a use are read."""
        match self._dialect:
            case Dialect.OPENAI_RESPONSES if _ITEM_DONE.search(data):
                self._item(_member(_read(data), "item"))
            case Dialect.OPENAI_CHAT if _EXECUTED.search(data):
                self._choices(_read(data))
            case Dialect.ANTHROPIC if _SERVED_BLOCK.search(data):
                self._block(_member(_read(data), "content_block"))

    def answer(self, answer: Mapping[str, Any]) -> None:
        """A whole answer, or an event of Gemini's, which is one in small."""
        for item in _objects(answer, "output"):
            self._item(item)
        for block in _objects(answer, "content"):
            self._block(block)
        for candidate in _objects(answer, "candidates"):
            self._grounding(_member(candidate, "groundingMetadata"))
        self._choices(answer)

    def web_searches(self, model: str | None) -> int:
        """Searches that the usage does not name."""
        found = self._of("google_search")
        return min(found, 1) if _BY_PROMPT.match(model or "") else found

    def uses(self) -> tuple[tuple[str, int], ...]:
        """Uses of all other tools, by name."""
        names = sorted({tool for tool, _ in self._uses} - {"google_search"})
        return tuple((tool, self._of(tool)) for tool in names)

    def _of(self, tool: str) -> int:
        return sum(1 for name, _ in self._uses if name == tool)

    def _add(self, tool: str, which: object) -> None:
        if len(self._uses) < _MOST:
            self._uses.add((tool, str(which)))

    def _item(self, item: Mapping[str, Any]) -> None:
        tool = _BILLED_ITEMS.get(str(item.get("type")))
        action = _member(item, "action").get("type", "search")
        if tool is None or (tool == "web_search" and action != "search"):
            return
        place = _member(item, "environment")
        if item["type"] == "shell_call" and place.get("type") != "container_reference":
            return
        container = item.get("container_id", place.get("container_id"))
        self._add(tool, container or item.get("id", len(self._uses)))

    def _choices(self, answer: Mapping[str, Any]) -> None:
        """What Groq ran while it answered; a stream tells of a tool more than once."""
        for choice in _objects(answer, "choices"):
            for part in ("message", "delta"):
                for tool in _objects(_member(choice, part), "executed_tools"):
                    self._add(str(tool.get("type")), tool.get("index", len(self._uses)))

    def _block(self, block: Mapping[str, Any]) -> None:
        """All code of one answer runs in one container."""
        if block.get("type") == "server_tool_use" and "code_execution" in str(block.get("name")):
            self._add("code_execution", "container")

    def _grounding(self, found: Mapping[str, Any]) -> None:
        queries = found.get("webSearchQueries")
        for query in queries if isinstance(queries, list) else ():
            if query:
                self._add("google_search", query)
        chunks = _objects(found, "groundingChunks")
        if any("web" in chunk for chunk in chunks) and not self._of("google_search"):
            self._add("google_search", "")
        if any("maps" in chunk for chunk in chunks):
            self._add("google_maps", "prompt")


def _read(data: bytes) -> Mapping[str, Any]:
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _member(value: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    inner = value.get(key)
    return inner if isinstance(inner, dict) else {}


def _objects(value: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
    inner = value.get(key)
    return [one for one in inner if isinstance(one, dict)] if isinstance(inner, list) else []
