"""mitmproxy's options, read without copying what cannot be changed.

mitmproxy copies an option deeply at every read, and its layers read a dozen for each request. Text,
numbers and truth values need no copy.
"""

from __future__ import annotations

from typing import Any

from mitmproxy import options, optmanager

UNCHANGEABLE = frozenset({str, int, bool, float, type(None)})


class QuickOptions(options.Options):
    """``Options`` with the same values."""

    def __getattr__(self, name: str) -> Any:
        """The value of an option, or AttributeError."""
        option = self.__dict__["_options"].get(name)
        if option is not None:
            value = option._default if option.value is optmanager.unset else option.value
            if type(value) in UNCHANGEABLE:
                return value
        return super().__getattr__(name)  # type: ignore[no-untyped-call]  # mitmproxy's is untyped
