"""Header fields that are found without asking every name for its type and its lower case in Python.

A call's headers are asked for some thirty names on their way, most of which are not there.
"""

from __future__ import annotations

from typing import Any

from mitmproxy import http


class QuickHeaders(http.Headers):
    """As mitmproxy's ``Headers``, whose objects are re-classed to this once they were read."""

    @classmethod
    def install(cls, headers: http.Headers) -> None:
        """Re-class one object; whatever is more than mitmproxy's own stays what it is."""
        if type(headers) is http.Headers:
            headers.__class__ = cls

    def get_all(self, name: str | bytes) -> list[str]:
        """The values of one name, in any letter case, in order."""
        found = []
        wanted = _lowered(name)
        length = len(wanted)
        for key, value in self.fields:
            if len(key) == length and key.lower() == wanted:
                found.append(value.decode("utf-8", "surrogateescape"))
        return found

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str | bytes) and bool(self.get_all(key))

    def __getitem__(self, key: str | bytes) -> str:
        values = self.get_all(key)
        if not values:
            raise KeyError(key)
        return ", ".join(values)

    def get(self, key: str | bytes, default: Any = None) -> Any:
        """The values of one name joined by commas, or ``default``."""
        values = self.get_all(key)
        return ", ".join(values) if values else default


def _lowered(name: str | bytes) -> bytes:
    raw = name if isinstance(name, bytes) else name.encode("utf-8", "surrogateescape")
    return raw.lower()
