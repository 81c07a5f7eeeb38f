"""What every dialect is given to read: a request as it arrived, and what its path asks for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tollkeeper.domain import Dialect, Provider


@dataclass(frozen=True, slots=True)
class Inbound:
    """A request to a provider.

    Attributes:
        path: As it stands on the wire, without the query.
        query: Without the question mark; empty when there is none.
        headers: Lower-case names.
        body: Already free of any content-encoding.
        host: That it is sent to; empty when nobody knows.
    """

    provider: Provider
    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes
    host: str = ""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """What a path asks for.

    Attributes:
        operation: Its name in ``facts/endpoints.yaml``.
        dialect: How its body and its refusals are written.
        metered: True when it may cost money.
        model: From the path, where the path names it.
        deployment: From the path, where the path names what runs a model and not the model.
        location: From the path, where the path says in which region the model runs.
        object: The id of what the provider keeps, where the path names one.
        reaches_stored: Whether it is there to reach what the provider keeps.
    """

    operation: str
    dialect: Dialect
    metered: bool
    model: str | None = None
    deployment: str | None = None
    location: str | None = None
    object: str | None = None
    reaches_stored: bool = False
