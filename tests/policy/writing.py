"""What the fixtures of these tests do with the text of a policy."""

from __future__ import annotations

from collections.abc import Callable

from tollkeeper.policy.load import LoadedPolicy

type Load = Callable[[str], LoadedPolicy]
"""Loads it."""

type Problems = Callable[[str], list[str]]
"""Loads it in vain; what is wrong, as ``line:column: message``."""
