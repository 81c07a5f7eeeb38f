"""Data about other people's formats, each entry with its source and date.

``hosts.yaml`` says who is governed, ``endpoints.yaml`` what may be asked of them and which of it is
free, ``clients.yaml`` how long clients wait and what makes them hammer, ``plans.yaml`` which
credentials are a plan's, ``models.yaml`` what a model may write and what is billed beyond the bytes
of a request, ``tasks.yaml`` what images, audio and reranking are billed,
``fees.yaml`` what providers bill for each use of their own tools, ``prices.yaml`` where the price
catalogue lacks a model or is wrong. Everything is read once, checked
and frozen. What a table does not name is unknown: None, never a guess.
"""

from tollkeeper.facts.ai_hosts import is_ai_host
from tollkeeper.facts.bounds import (
    hidden_input_tokens,
    hides_reasoning,
    image_bound_tokens,
    max_output_tokens,
    realtime_window,
)
from tollkeeper.facts.clients import (
    bears_heartbeats,
    client_family,
    final_status,
    patience_seconds,
    retry_joins,
)
from tollkeeper.facts.deployments import AZURE, model_of
from tollkeeper.facts.endpoints import (
    EndpointFact,
    RefusedFact,
    endpoint,
    endpoints,
    families,
    mount_of,
    mounts,
    named_in,
    refused,
    refused_endpoints,
    reroute,
)
from tollkeeper.facts.fees import cache_storage, region_percent, tool_fees
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
    takes_key,
)
from tollkeeper.facts.plans import is_of_plan, login_hosts, paid_by_plan, plans
from tollkeeper.facts.prices import billed_as, published_models, published_rates
from tollkeeper.facts.tasks import (
    ImageFact,
    SpeechFact,
    image_fact,
    least_audio_milliseconds,
    speech_fact,
    unit_rates,
    unit_tier,
    unit_tiers,
)

__all__ = [
    "AUTH_HEADERS",
    "AZURE",
    "HOUSE",
    "EndpointFact",
    "ImageFact",
    "RefusedFact",
    "SpeechFact",
    "bears_heartbeats",
    "billed_as",
    "cache_storage",
    "client_family",
    "credential_headers",
    "credential_query",
    "endpoint",
    "endpoints",
    "families",
    "final_status",
    "hidden_input_tokens",
    "hides_reasoning",
    "image_bound_tokens",
    "image_fact",
    "is_ai_host",
    "is_house",
    "is_of_plan",
    "key_header",
    "least_audio_milliseconds",
    "login_hosts",
    "max_output_tokens",
    "model_of",
    "mount_of",
    "mounts",
    "named_in",
    "normalise_host",
    "paid_by_plan",
    "patience_seconds",
    "plans",
    "provider_for_host",
    "providers",
    "published_models",
    "published_rates",
    "realtime_window",
    "refused",
    "refused_endpoints",
    "region_percent",
    "reroute",
    "retry_joins",
    "speech_fact",
    "takes_key",
    "tool_fees",
    "unit_rates",
    "unit_tier",
    "unit_tiers",
]
