"""Points a policy's built-in providers at a running simulator."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

BUILT_IN = ("openai", "anthropic", "google", "chatgpt", "gemini-code-assist")


def providers(
    port: int,
    certificate: Path,
    names: Iterable[str] = BUILT_IN,
    keys: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """What belongs under ``providers:`` of a policy.

    Only the address changes: names, SNI and certificate checks stay, and the lab's CA is trusted
    for these providers alone.

    Args:
        port: The simulator's.
        certificate: Its ``lab-ca.pem``.
        names: The providers to point at it.
        keys: Environment variables to read the real keys from, by provider.
    """
    wired: dict[str, Any] = {}
    for name in names:
        wired[name] = {"connect_to": f"127.0.0.1:{port}", "trust": str(certificate)}
        if keys and name in keys:
            wired[name]["key"] = {"env": keys[name]}
    return wired
