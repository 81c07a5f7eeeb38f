"""Canonical JSON: one text for all values that say the same, with sorted keys and no spaces.

``json.JSONEncoder`` makes its inner encoder anew for every value, which takes longer than a small
value itself. Here it is made once; both are CPython's, so that they cannot differ.
"""

from __future__ import annotations

import json
import json.encoder
from collections.abc import Callable
from typing import Any


def canonical_encoder(*, ascii_only: bool) -> Callable[[Any], str]:
    """An encoder of plain values.

    ``TypeError`` or ``ValueError`` for anything else, ``NaN`` and ``Infinity`` among it, and
    ``RecursionError`` for a circle.

    Args:
        ascii_only: Whether other characters than ASCII's are escaped.
    """
    parts = vars(json.encoder)
    quote = parts["encode_basestring_ascii" if ascii_only else "encode_basestring"]
    default = json.JSONEncoder().default
    sort_keys, skip_keys, allow_nan = True, False, False
    encode = parts["c_make_encoder"](
        None, default, quote, None, ":", ",", sort_keys, skip_keys, allow_nan
    )
    return lambda value: "".join(encode(value, 0))
