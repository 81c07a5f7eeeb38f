"""`deploy`: recipes to run the proxy somewhere else than on a desk."""

from __future__ import annotations

from importlib import resources
from typing import Annotated, Final

import typer

RECIPES: Final = {
    "container": "Containerfile",
    "compose": "compose.yaml",
    "systemd": "tollkeeper.service",
    "kubernetes": "kubernetes.yaml",
}


def deploy(
    recipe: Annotated[
        str, typer.Argument(metavar="RECIPE", help="container, compose, systemd or kubernetes.")
    ],
) -> None:
    """Print a recipe: container, compose, systemd or kubernetes.

    Each says at its top for whom it is and how to use it.
    """
    if recipe not in RECIPES:
        raise typer.BadParameter(f"{recipe!r} is no recipe; there are {', '.join(RECIPES)}")
    print(text_of(recipe), end="")


def text_of(recipe: str) -> str:
    """A recipe as it ships."""
    folder = resources.files("tollkeeper_cli") / "recipes"
    return (folder / RECIPES[recipe]).read_text(encoding="utf-8")
