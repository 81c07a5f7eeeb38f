"""Reads the YAML tables that lie beside this module."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any


@cache
def read_table(name: str) -> dict[str, Any]:
    """Parses ``NAME.yaml`` of this package, once; nobody may change what it gives.

    Raises:
        FileNotFoundError: The package was installed without its data.
    """
    import yaml  # here, because most commands read no table and need not wait for it

    # PyYAML built without libyaml is some milliseconds slower, with the same result.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    text = Path(__file__).with_name(f"{name}.yaml").read_text(encoding="utf-8")
    table: dict[str, Any] = yaml.load(text, Loader=loader)  # noqa: S506 - both are safe ones
    return table
