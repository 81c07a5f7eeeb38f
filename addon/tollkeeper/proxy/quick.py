"""What costs mitmproxy time at every request and does nothing for a governed proxy.

Measured with ``tests/bench/bench_proxy.py``: each is 4 to 10 % of what stock mitmproxy spends on a
request.
"""

from __future__ import annotations

import gc
from typing import Any

from mitmproxy import http, options, optmanager
from mitmproxy.proxy.context import Context

UNCHANGEABLE = frozenset({str, int, bool, float, type(None)})

NEW_OBJECTS = 5_000
"""Allocations between two looks for cyclic garbage. A flow and its layers leave some hundred objects in
cycles, so that a dozen finished flows wait to be freed: half a megabyte."""

YOUNGER_LOOKS = 2
"""Looks at younger objects before one at older ones; Python's own is 10. Flows that outlived a look
would wait for thousands of calls: memory then grows long after the first thousand calls. What
was loaded at the start is frozen, so that a whole look costs little."""


class QuickOptions(options.Options):
    """``Options`` with the same values.

    mitmproxy copies an option deeply at every read, and its layers read a dozen for each request.
    Text, numbers and truth values need no copy.
    """

    def __getattr__(self, name: str) -> Any:
        """The value of an option, or AttributeError."""
        option = self.__dict__["_options"].get(name)
        if option is not None:
            value = option._default if option.value is optmanager.unset else option.value
            if type(value) in UNCHANGEABLE:
                return value
        return super().__getattr__(name)  # type: ignore[no-untyped-call]  # mitmproxy's is untyped


def skip_debug_checks() -> None:
    """Leave out the type check of every field of every message, as mitmproxy itself does with ``-O``."""
    http.MessageData.__post_init__ = lambda self: None  # type: ignore[method-assign]


def fork(context: Context) -> Context:
    """As ``Context.fork``, without making a server connection that is thrown away at once."""
    made = Context.__new__(Context)
    vars(made).update(vars(context))
    made.layers = context.layers.copy()
    return made


def twin(message: http.Request) -> http.Request:
    """A request whose parts can be replaced without touching this one: one level of a copy."""
    made: http.Request = object.__new__(type(message))
    vars(made).update(vars(message))
    made.data = object.__new__(type(message.data))
    vars(made.data).update(vars(message.data))
    return made


def look_less_for_garbage() -> None:
    """What has been loaded stays for good and need not be looked at again; new garbage, less often."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(NEW_OBJECTS, YOUNGER_LOOKS, YOUNGER_LOOKS)
