"""Header fields that are found without asking every name for its type and its lower case in Python.

A call's headers are asked for some thirty names on their way, most of which are not there; the names are
our code's and mitmproxy's, a few dozen in all.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from mitmproxy import http
from mitmproxy.net.http.http1 import read as http1


class QuickHeaders(http.Headers):
    """As mitmproxy's ``Headers``, whose objects are re-classed to this once they were read."""

    _indexed: tuple[tuple[bytes, bytes], ...] | None = None
    """The fields that ``_index`` is of; whoever changes fields puts others in their place."""
    _index: dict[bytes, list[bytes]]

    @classmethod
    def read_as_these(cls) -> None:
        """Have HTTP/1 messages read with these at once: their bodies' sizes are asked for first of all."""
        http1.Headers = cls  # type: ignore[misc]  # the name by which its module makes them

    @classmethod
    def install(cls, headers: http.Headers) -> None:
        """Re-class one object; whatever is more than mitmproxy's own stays what it is."""
        if type(headers) is http.Headers:
            headers.__class__ = cls

    def get_all(self, name: str | bytes) -> list[str]:
        """The values of one name, in any letter case, in order."""
        if self._indexed is not self.fields:
            self._index = {}
            for key, value in self.fields:
                self._index.setdefault(key.lower(), []).append(value)
            self._indexed = self.fields
        found = self._index.get(_lowered(name))
        return [value.decode("utf-8", "surrogateescape") for value in found] if found else []

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str | bytes) and bool(self.get_all(key))

    def __getitem__(self, key: str | bytes) -> str:
        values = self.get_all(key)
        if not values:
            raise KeyError(key)
        return ", ".join(values)

    def __setitem__(self, key: str | bytes, value: str | bytes) -> None:
        """Behind all others, unless the name is there already."""
        if isinstance(key, str) and isinstance(value, str) and key not in self:
            added = key.encode("utf-8", "surrogateescape"), value.encode("utf-8", "surrogateescape")
            self.fields = (*self.fields, added)
        else:
            super().__setitem__(key, value)

    def get(self, key: str | bytes, default: Any = None) -> Any:
        """The values of one name joined by commas, or ``default``."""
        values = self.get_all(key)
        return ", ".join(values) if values else default


@lru_cache(maxsize=256)
def _lowered(name: str | bytes) -> bytes:
    raw = name if isinstance(name, bytes) else name.encode("utf-8", "surrogateescape")
    return raw.lower()
