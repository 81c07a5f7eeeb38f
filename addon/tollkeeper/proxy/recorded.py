"""Reads what mitmproxy saved, for `policy test --on`: requests to providers, in the order they came."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mitmproxy import exceptions, http, io

from tollkeeper import facts
from tollkeeper.domain import NS_PER_SECOND, Policy
from tollkeeper.errors import UsageError
from tollkeeper.policy.replay import Recorded
from tollkeeper.proxy.disclose import KEY
from tollkeeper.wire.dialect import Inbound


def recorded(path: Path, policy: Policy, agent: str) -> Iterator[Recorded]:
    """Requests to the policy's providers; all else in the file is passed over.

    Args:
        agent: Whose requests they are where the flow does not tell.

    Raises:
        UsageError: When the file cannot be read as flows.
    """
    try:
        with path.open("rb") as file:
            flows = [one for one in io.FlowReader(file).stream() if isinstance(one, http.HTTPFlow)]
    except OSError as e:
        raise UsageError(f"{path} cannot be read: {e.strerror}.") from e
    except (exceptions.FlowReadException, ValueError) as e:
        why = str(e).rstrip(".")
        raise UsageError(f"{path} holds no flows that mitmproxy saved: {why}.") from e
    for flow in sorted(flows, key=lambda one: one.request.timestamp_start):
        request = flow.request
        provider = facts.provider_for_host(request.host, policy.providers)
        if provider is None:
            continue
        told: dict[str, Any] = flow.metadata.get(KEY) or {}
        path_part, _, query = request.path.partition("?")
        headers = {name.lower(): value for name, value in request.headers.items()}
        body = request.get_content(strict=False) or b""
        yield Recorded(
            str(told.get("agent") or agent),
            Inbound(provider, request.method, path_part, query, headers, body, request.host),
            int(request.timestamp_start * 1000) * (NS_PER_SECOND // 1000),
            told.get("run"),
        )
