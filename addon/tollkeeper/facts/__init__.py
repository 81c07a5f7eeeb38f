"""Data about other people's formats, each entry with its source and date.

``hosts.yaml`` says who is governed, ``endpoints.yaml`` what may be asked of them and which of it is
free, ``clients.yaml`` how long clients wait and what makes them hammer, ``models.yaml`` what a
model may write and what is billed beyond the bytes of a request, ``fees.yaml`` what providers bill
for each use of their own tools. Everything is read once, checked
and frozen. What a table does not name is unknown: None, never a guess.
"""

from tollkeeper.facts.bounds import (
    hidden_input_tokens,
    hides_reasoning,
    image_bound_tokens,
    max_output_tokens,
)
from tollkeeper.facts.clients import (
    bears_heartbeats,
    client_family,
    final_status,
    patience_seconds,
    retry_joins,
)
from tollkeeper.facts.endpoints import EndpointFact, endpoint, endpoints, mount_of, reroute
from tollkeeper.facts.fees import region_percent, tool_fees
from tollkeeper.facts.hosts import (
    AUTH_HEADERS,
    HOUSE,
    credential_headers,
    credential_query,
    is_house,
    key_header,
    normalise_host,
    provider_for_host,
    providers,
)

__all__ = [
    "AUTH_HEADERS",
    "HOUSE",
    "EndpointFact",
    "bears_heartbeats",
    "client_family",
    "credential_headers",
    "credential_query",
    "endpoint",
    "endpoints",
    "final_status",
    "hidden_input_tokens",
    "hides_reasoning",
    "image_bound_tokens",
    "is_house",
    "key_header",
    "max_output_tokens",
    "mount_of",
    "normalise_host",
    "patience_seconds",
    "provider_for_host",
    "providers",
    "region_percent",
    "reroute",
    "retry_joins",
    "tool_fees",
]
