"""The file by which a running proxy is found: one JSON object, there as long as it listens."""

from __future__ import annotations

import json
import os
from typing import Any

from tollkeeper.home import Home


class ProcessFile:
    """What the process of this state folder says of itself."""

    def __init__(self, home: Home) -> None:
        """Nothing is said yet."""
        self.home = home
        self.said: dict[str, Any] = {}

    def say(self, **facts: Any) -> None:
        """Add facts; the file is replaced whole, because others wait for it.

        Once another process has put its own in its place, nothing is said any more.
        """
        if self.said and not self.is_ours():
            return
        self.said = {"pid": os.getpid(), **self.said, **facts}
        temporary = self.home.process.with_suffix(f".{os.getpid()}")
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "w") as file:
            json.dump(self.said, file)
        temporary.replace(self.home.process)

    def remove(self) -> None:
        """Remove it if it is still ours."""
        if self.is_ours():
            self.home.process.unlink(missing_ok=True)

    def is_ours(self) -> bool:
        """Whether the file that is there was written by this process."""
        try:
            return bool(json.loads(self.home.process.read_text())["pid"] == os.getpid())
        except (OSError, ValueError, KeyError):
            return False
