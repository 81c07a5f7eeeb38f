"""Which model a deployment or an inference profile runs, as the owner's policy says."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Final

from tollkeeper.domain import Provider

AZURE: Final = "azure"
"""The catalogue of the provider whose calls name deployments."""


def model_of(provider: Provider, name: str) -> str:
    """The model behind a name: by the name itself, else by the first glob, else the name as it is.

    Letter case makes no difference, because Azure takes a deployment by any spelling of its name; there
    a name that nobody wrote is one in small letters, so that a rule on it holds for all spellings.

    Source: https://learn.microsoft.com/en-us/azure/azure-resource-manager/management/resource-name-rules
    """
    folded = name.lower()
    written = [(known.lower(), model) for known, model in provider.deployments.items()]
    for known, model in written:
        if known == folded:
            return model
    unwritten = folded if provider.catalogue == AZURE else name
    return next((model for glob, model in written if fnmatchcase(folded, glob)), unwritten)
