"""`model list`: models, tiers, prices, and where each price comes from."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tollkeeper_cli import state
from tollkeeper_cli.output import Column, print_rows
from tollkeeper_cli.state import Json
from tollkeeper_cli.units import now_ns

if TYPE_CHECKING:
    from tollkeeper.core.pricing import PriceBook
    from tollkeeper.domain import Policy

app = typer.Typer(help="Models, tiers and prices.", no_args_is_help=True)

_COLUMNS = [
    Column("model", "model"), Column("provider", "provider"), Column("tier", "tier"),
    Column("input_nano_usd", "in /Mtok"), Column("output_nano_usd", "out /Mtok"),
    Column("context_window", "context"), Column("max_output_tokens", "max out"),
    Column("source", "price from"),
]  # fmt: skip


@app.callback()
def models() -> None:
    """Models, tiers and prices."""
