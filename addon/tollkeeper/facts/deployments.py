"""Which model a deployment or an inference profile runs, as the owner's policy says."""

from __future__ import annotations

from fnmatch import fnmatchcase

from tollkeeper.domain import Provider


def model_of(provider: Provider, name: str) -> str:
    """The model behind a name: by the name itself, else by the first glob, else the name as it is."""
    if name in provider.deployments:
        return provider.deployments[name]
    fits = (model for glob, model in provider.deployments.items() if fnmatchcase(name, glob))
    return next(fits, name)
