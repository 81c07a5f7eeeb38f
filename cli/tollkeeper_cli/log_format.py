"""How the proxy's log is written, as text or as JSON lines, and how either is shown to a person.

Nothing that comes from a request can forge a line, move a cursor or carry a key into the log.
"""

from __future__ import annotations

import json
import logging
import sys
from logging.handlers import RotatingFileHandler
from typing import Any, Final

from tollkeeper.domain import NS_PER_SECOND
from tollkeeper.home import Home
from tollkeeper.policy.document import without_secrets
from tollkeeper_cli.log_repeats import FewerRepeats
from tollkeeper_cli.output import as_json, escape
from tollkeeper_cli.units import iso

LOG_BYTES: Final = 10 * 1024 * 1024
LOG_FILES: Final = 3

_FURTHER: Final = "\n    "


class TextLines(logging.Formatter):
    """Lines for people: those after the first of a message are indented."""

    def __init__(self) -> None:
        """Time, level, message."""
        super().__init__("%(asctime)s %(levelname)s %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        """Escaped, without secrets."""
        return escape(without_secrets(super().format(record)), lines=True).replace("\n", _FURTHER)


class JsonLines(logging.Formatter):
    """One JSON object a line.

    ``ts`` (ISO-8601, UTC), ``level``, ``logger``, ``message``; where known ``client`` (address of who
    is connected) and ``exception`` (the traceback).
    """

    def format(self, record: logging.LogRecord) -> str:
        """Without secrets; every control character is escaped."""
        said: dict[str, Any] = {
            "ts": iso(int(record.created * 1000) * (NS_PER_SECOND // 1000)),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        client = getattr(record, "client", None)
        if isinstance(client, tuple) and len(client) > 1:
            said["client"] = f"{client[0]}:{client[1]}"
        if record.exc_info:
            said["exception"] = self.formatException(record.exc_info)
        shown = {name: without_secrets(value) for name, value in said.items()}
        return as_json(shown, indent=None)


def log_to(at: Home, *, json_lines: bool, terminal: bool) -> None:
    """Log into the state folder's file, and on standard error of a proxy in the foreground."""
    at.log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    handlers: list[logging.Handler] = [
        RotatingFileHandler(at.log, maxBytes=LOG_BYTES, backupCount=LOG_FILES, encoding="utf-8")
    ]
    at.log.chmod(0o600)
    if terminal:
        handlers.append(logging.StreamHandler(sys.stderr))
    for handler in handlers:
        handler.setFormatter(JsonLines() if json_lines else TextLines())
    logging.basicConfig(level=logging.WARNING, handlers=[FewerRepeats(handlers)], force=True)
    logging.getLogger("tollkeeper").setLevel(logging.INFO)


def readable(line: str) -> str:
    """A line of either format as a person reads it, escaped."""
    try:
        said = json.loads(line) if line.startswith("{") else None
        if said is None:
            return escape(line)
        text = f"{said['ts']} {str(said['level']).upper()} {said['message']}"
    except (ValueError, KeyError, TypeError):
        return escape(line)
    if said.get("exception"):
        text += f"\n{said['exception']}"
    return escape(text, lines=True).replace("\n", _FURTHER)
