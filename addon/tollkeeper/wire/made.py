"""Objects that an answer says its provider keeps from now on: responses, conversations, containers.

A later call may name them; with a key that many agents share only those that its own agent's calls
made (``wire/stored.py``).

Source: https://platform.openai.com/docs/api-reference/responses/object,
https://platform.openai.com/docs/api-reference/conversations/create,
https://platform.openai.com/docs/guides/background,
https://docs.anthropic.com/en/docs/agents-and-tools/tool-use/code-execution-tool (containers, files),
https://platform.openai.com/docs/guides/audio (``audio.id``)
"""

from __future__ import annotations

import re
from typing import Any, Final

from tollkeeper.domain import Dialect, Kept

MOST_IDS: Final = 256
"""Of one answer; a long one has a few dozen items."""

MOST_ID_CHARACTERS: Final = 256

_TELLS: Final = {
    Dialect.OPENAI_RESPONSES: re.compile(
        rb'"type"\s*:\s*"response\.(?:created|queued|in_progress|completed|incomplete|failed|cancelled'
        rb'|output_item\.done)"'
    ),
    Dialect.OPENAI_CHAT: re.compile(rb'"audio"\s*:\s*\{\s*"id"'),
    Dialect.ANTHROPIC: re.compile(rb'"container"\s*:\s*\{|"file_id"'),
}
_GOING_ON: Final = frozenset({"queued", "in_progress"})


class Made:
    """What one answer has said so far.

    Attributes:
        ids: In the order in which they came, each once.
        response: The id of the response itself, in the dialect that gives it one that can be asked for.
        status: The last that it named of itself.
        kept: A cache, with what is known of it.
    """

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self._tells = _TELLS.get(dialect)
        self.ids: dict[str, None] = {}
        self.response: str | None = None
        self.status: str | None = None
        self.kept: Kept | None = None

    @property
    def goes_on(self) -> bool:
        """Whether the response is being worked on behind the answer."""
        return self.response is not None and self.status in _GOING_ON

    def keep(self, cache: Kept) -> None:
        """A cache that the provider keeps from now on."""
        self._keep(cache.id)
        self.kept = cache

    def concerns(self, data: bytes) -> bool:
        """Whether an event may name an object."""
        return self._tells is not None and self._tells.search(data) is not None

    def read(self, value: Any) -> None:
        """Take over what a whole answer or an event names."""
        if not isinstance(value, dict):
            return
        match self._dialect:
            case Dialect.OPENAI_RESPONSES:
                self._of_responses(value)
            case Dialect.ANTHROPIC:
                for message in (value, value.get("message"), value.get("delta")):
                    self._id_in(message, "container")
                for block in (*_objects(value.get("content")), value.get("content_block")):
                    self._files_in(block)
            case Dialect.OPENAI_CHAT:
                for choice in _objects(value.get("choices")):
                    for holder in (choice.get("message"), choice.get("delta")):
                        self._id_in(holder, "audio")
            case _:
                pass

    def _of_responses(self, value: dict[str, Any]) -> None:
        kind, inner = value.get("object"), value.get("response")
        if kind == "conversation":
            self._keep(value.get("id"))
        response: Any = value if kind == "response" else inner
        if isinstance(response, dict):
            self._keep(response.get("id"))
            if isinstance(response.get("id"), str):
                self.response = response["id"]
            if isinstance(response.get("status"), str):
                self.status = response["status"]
            self._id_in(response, "conversation")
            for item in _objects(response.get("output")):
                self._item(item)
        # Lists of what was sent (``data``) have ids that a client may have made up.
        self._item(value.get("item"))

    def _item(self, item: Any) -> None:
        if not isinstance(item, dict):
            return
        self._keep(item.get("id"))
        self._keep(item.get("container_id"))
        for part in _objects(item.get("content")):
            for note in _objects(part.get("annotations")):
                if note.get("type") == "container_file_citation":
                    self._keep(note.get("container_id"))
                    self._keep(note.get("file_id"))

    def _files_in(self, block: Any) -> None:
        """Files that a tool of the provider made: ``content.content[].file_id``."""
        kind = block.get("type") if isinstance(block, dict) else None
        if not isinstance(kind, str) or not kind.endswith("code_execution_tool_result"):
            return
        content = block.get("content")
        inner = content.get("content") if isinstance(content, dict) else None
        for one in _objects(inner):
            self._keep(one.get("file_id"))

    def _id_in(self, holder: Any, key: str) -> None:
        named = holder.get(key) if isinstance(holder, dict) else None
        if isinstance(named, dict):
            self._keep(named.get("id"))

    def _keep(self, value: Any) -> None:
        fits = isinstance(value, str) and 0 < len(value) <= MOST_ID_CHARACTERS
        if fits and len(self.ids) < MOST_IDS:
            self.ids[value] = None


def _objects(value: Any) -> list[dict[str, Any]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []
