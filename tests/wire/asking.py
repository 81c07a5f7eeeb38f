"""Bodies of calls that are no conversation, put to the proxy's reading."""

from __future__ import annotations

import json
from typing import Any

from tollkeeper.domain import Call
from wire.conftest import parse_bytes

FORM = "multipart/form-data; boundary=B0"


def asked(path: str, body: dict[str, Any], provider: str = "openai") -> Call:
    """The call that a JSON body makes."""
    return parse_bytes(json.dumps(body).encode(), provider, path)


def sent(path: str, *fields: tuple[str, str | bytes], provider: str = "openai") -> Call:
    """The call that a form makes; bytes are files."""
    return parse_bytes(form(*fields), provider, path, {"content-type": FORM})


def form(*fields: tuple[str, str | bytes]) -> bytes:
    """A form as its bytes."""
    out = b""
    for name, value in fields:
        file = '; filename="a"' if isinstance(value, bytes) else ""
        out += f'--B0\r\nContent-Disposition: form-data; name="{name}"{file}\r\n\r\n'.encode()
        out += (value if isinstance(value, bytes) else value.encode()) + b"\r\n"
    return out + b"--B0--\r\n"
