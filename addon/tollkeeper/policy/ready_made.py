"""The policies that come with Tollkeeper, wherever it is installed."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources
from pathlib import Path

NAMES = ("starter", "observe", "coding-agent", "team", "ci", "lockdown")
"""In the order in which to show them."""


def ready_made() -> Mapping[str, Path]:
    """Each ready-made policy's file by its name.

    A wheel carries them in ``tollkeeper/ready_made``; an editable installation reads the checkout's
    ``policies``.
    """
    folder = _folder()
    return {name: folder / f"{name}.yaml" for name in NAMES}


def schema_file() -> Path:
    """The schema that their first lines name, for editors; it has to lie beside a policy."""
    return _folder() / "schema.json"


def _folder() -> Path:
    packaged = Path(str(resources.files("tollkeeper"))) / "ready_made"
    if packaged.is_dir():
        return packaged
    return Path(__file__).resolve().parents[3] / "policies"


def purpose(path: Path) -> str:
    """For whom a ready-made policy is: the first sentence of its comment."""
    for line in path.read_text(encoding="utf-8").splitlines():
        text = line.removeprefix("#").strip()
        if line.startswith("#") and text and "yaml-language-server" not in text:
            return text
    return ""
