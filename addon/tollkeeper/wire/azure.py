"""Azure OpenAI, whose calls name deployments: the path or the body says which, the policy what it runs.

The dialects are OpenAI's and Anthropic's. They are given the body as if it named the model; what is
sent on stays as it came.

Source: https://learn.microsoft.com/en-us/azure/ai-foundry/openai/reference (paths, ``api-version``),
https://learn.microsoft.com/en-us/azure/ai-foundry/openai/api-version-lifecycle (``/openai/v1``)
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final
from urllib.parse import parse_qs

from tollkeeper import facts
from tollkeeper.domain import Call, Provider
from tollkeeper.errors import WireError
from tollkeeper.wire.dialect import Endpoint, Inbound
from tollkeeper.wire.document import read, splice

_FIRST_WITH_USAGE_EVENTS: Final = "2024-08-01"
"""Older versions of the API refuse ``stream_options``.

Source: https://community.openai.com/t/738156 (``2024-08-01-preview``)
"""

_MISTRALS: Final = ("mistral", "ministral", "codestral")
"""How names of Mistral's models begin, which refuse ``stream_options`` on Azure as everywhere.

Source: https://github.com/BerriAI/litellm/issues/11696
"""

NO_USAGE_EVENT: Final = "no_usage_event"
"""The feature of a call whose stream cannot be asked for its usage."""

FIXED_MODEL: Final = "fixed_model"
"""The feature of a call whose path names the deployment, so that its body cannot name another."""

_RETRIEVING: Final = frozenset({"data_sources", "dataSources"})
"""Searches in the owner's documents, whose finds become input.

Source: https://learn.microsoft.com/en-us/azure/ai-foundry/openai/references/on-your-data
"""


def asked(inbound: Inbound, endpoint: Endpoint) -> tuple[Inbound, str | None]:
    """The request with the model in its body, and the deployment that it names.

    A provider whose calls name models comes back as it is, with None.

    Raises:
        WireError: When path and body name different things.
    """
    name = endpoint.deployment
    if name is None and not names_deployments(inbound.provider):
        return inbound, None
    if not inbound.body.lstrip().startswith(b"{"):
        return inbound, name
    document = read(inbound.body)
    member = document.members.get("model")
    said = member.value if member is not None else None
    name = name or said
    if not isinstance(name, str) or not name:
        return inbound, None
    model = facts.model_of(inbound.provider, name)
    spelled = said.lower() if isinstance(said, str) else said
    if spelled not in (None, name.lower(), model.lower()):
        raise WireError(
            f"The path names the deployment {name[:64]}, the body another model. The operator can "
            f"write what the deployment runs under providers.{inbound.provider.name}.deployments."
        )
    if said == model:
        return inbound, name
    return replace(inbound, body=splice(document, {("model",): model})), name


def told(call: Call, inbound: Inbound, endpoint: Endpoint, deployment: str | None) -> Call:
    """The call with what is Azure's own in it."""
    if deployment is None:
        return call
    features = set(call.features)
    of_mistral = (call.model or "").lower().startswith(_MISTRALS)
    if of_mistral or _version(inbound.query) < _FIRST_WITH_USAGE_EVENTS:
        features.add(NO_USAGE_EVENT)
    if endpoint.deployment is not None:
        features.add(FIXED_MODEL)
    served, opaque = call.server_tools, call.opaque_input
    if not _RETRIEVING.isdisjoint(call.unknown_parameters):
        served, opaque = (*served, "data_sources"), opaque or "data_sources"
    return replace(
        call,
        deployment=deployment,
        features=frozenset(features),
        server_tools=served,
        opaque_input=opaque,
    )


def names_deployments(provider: Provider) -> bool:
    """Whether what its calls call a model is the owner's own name for something that runs one."""
    return bool(provider.deployments) or provider.catalogue == facts.AZURE


def _version(query: str) -> str:
    """The API version, a date; that of ``/openai/v1``, which needs none, is always the newest."""
    return parse_qs(query).get("api-version", ["v1"])[0]
