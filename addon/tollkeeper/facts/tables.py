"""Reads the YAML tables that lie beside this module."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

try:
    from yaml import CSafeLoader as _Loader
except ImportError:  # PyYAML built without libyaml: some milliseconds slower, same result
    from yaml import SafeLoader as _Loader  # type: ignore[assignment]


def read_table(name: str) -> dict[str, Any]:
    """Parses ``NAME.yaml`` of this package; callers cache what they make of it.

    Raises:
        FileNotFoundError: The package was installed without its data.
    """
    text = Path(__file__).with_name(f"{name}.yaml").read_text(encoding="utf-8")
    table: dict[str, Any] = yaml.load(text, Loader=_Loader)
    return table
