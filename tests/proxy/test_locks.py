"""Options that would disarm us, refused at runtime and rolled back."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Optional

import pytest
from mitmproxy import exceptions, master, options
from mitmproxy.tools.web.master import WebMaster

from proxy.house import House
from tollkeeper.proxy.addresses import Address
from tollkeeper.proxy.locks import DISPLAY, LOCKED, Locks
from tollkeeper.proxy.serve import (
    WEB_ADDONS_REMOVED,
    WEB_COMMANDS_KEPT,
    headless,
    make_options,
    settle_options,
    with_web,
)


def within[T](house: House, look: Callable[[master.Master], T], *, web: bool = True) -> T:
    """Look at a master as ``serve`` makes it, its locks closed as they are while it runs."""

    async def story() -> T:
        made = make_options(house.station, [Address("127.0.0.1", 0)])
        built = with_web(made, house.station, 0) if web else headless(made, house.station)
        settle_options(made, house.station)
        built.addons.get("locks").running()
        return look(built)

    before = list(logging.root.handlers)
    try:
        return asyncio.run(story())
    finally:
        logging.root.handlers[:] = before


def other_value(value: Any) -> Any:
    """Another one of the same type."""
    match value:
        case bool():
            return not value
        case int():
            return value + 1
        case str():
            return value + "x"
        case None:
            return "x"
        case _:
            return [*value, "x"]


SPECIAL = {"connection_strategy": "eager", "stream_large_bodies": "1k", "body_size_limit": "1m"}


@pytest.mark.parametrize("web", [True, False])
def test_every_locked_option_is_refused_at_runtime_and_rolled_back(house: House, web: bool) -> None:
    def look(built: master.Master) -> dict[str, str]:
        outcome = {}
        for name, value in LOCKED.items():
            if name not in built.options:
                continue
            try:
                built.options.update(**{name: SPECIAL.get(name, other_value(value))})
            except exceptions.OptionsError as error:
                outcome[name] = str(error)
            assert getattr(built.options, name) == value, name
        return outcome

    refused = within(house, look, web=web)

    assert len(refused) >= 12
    assert all(text for text in refused.values())


def test_every_locked_option_exists_in_mitmproxy(house: House) -> None:
    known = within(house, lambda built: built.options.keys())

    assert set(LOCKED) <= known


def test_only_options_that_show_things_may_be_changed_while_it_runs(house: House) -> None:
    def look(built: master.Master) -> set[str]:
        changed = set()
        for name in built.options.keys():  # noqa: SIM118 - mitmproxy's options are no mapping
            value = getattr(built.options, name)
            option = built.options._options[name]
            other = next((c for c in option.choices or () if c != value), None) or SPECIAL.get(
                name, other_value(value)
            )
            with suppress(exceptions.OptionsError, TypeError):
                built.options.update(**{name: other})
            if getattr(built.options, name) != value:
                changed.add(name)
        return changed

    assert all(name.startswith(DISPLAY) for name in within(house, look))


def test_change_of_what_is_shown_is_taken(house: House) -> None:
    def look(built: master.Master) -> tuple[str, bool]:
        built.options.update(view_filter="~u openai", view_order_reversed=True)
        return built.options.view_filter, built.options.view_order_reversed

    assert within(house, look) == ("~u openai", True)


@pytest.mark.parametrize(
    "mode", ["transparent", "socks5", "reverse:https://api.openai.com", "local", "wireguard", "dns"]
)
def test_modes_without_a_connect_are_refused_before_it_runs(house: House, mode: str) -> None:
    async def story() -> None:
        made = make_options(house.station, [Address("127.0.0.1", 0)])
        headless(made, house.station)
        with pytest.raises(exceptions.OptionsError, match="modes"):
            made.update(mode=[mode])

    asyncio.run(story())


def test_dangerous_options_are_refused_by_the_beginning_of_their_name(house: House) -> None:
    def look(built: master.Master) -> None:
        built.options.add_option("emudhra_ca", Optional[str], None, "as mitmproxy 12.3 has it")  # noqa: UP045
        with pytest.raises(exceptions.OptionsError, match="emudhra"):
            built.options.update(emudhra_ca="x")
        assert built.options.emudhra_ca is None

    within(house, look, web=False)


def test_option_that_is_left_keeps_the_value_it_had_when_the_proxy_started(house: House) -> None:
    locks = Locks(Counter(), leave=("scripts",))

    assert "scripts" not in locks.locked
    assert LOCKED["scripts"] == []


def test_only_harmless_commands_are_left_to_mitmweb(house: House) -> None:
    left = within(house, lambda built: set(built.commands.commands))

    ours = {"tollkeeper.approve", "tollkeeper.reject"}  # they ask for the operator's code
    assert left - ours == {name for name in left if name.startswith(WEB_COMMANDS_KEPT)}
    for gone in ("options.reset", "options.load", "options.save", "script.run", "replay.client",
                 "replay.client.file", "replay.server", "save.file", "export.file", "flow.set",
                 "flow.revert", "view.flows.load", "view.flows.create", "inject.tcp", "cut.save",
                 "browser.start"):  # fmt: skip
        assert gone not in left


def test_every_addon_that_is_taken_out_of_mitmweb_was_there(house: House) -> None:
    async def names() -> set[str]:
        return set(WebMaster(options.Options(), with_termlog=False).addons.lookup)

    before = list(logging.root.handlers)
    there = asyncio.run(names())
    logging.root.handlers[:] = before
    left = within(house, lambda built: set(built.addons.lookup))

    assert set(WEB_ADDONS_REMOVED) <= there
    assert not left & set(WEB_ADDONS_REMOVED)


def test_ours_stand_before_everything_that_sees_flows(house: House) -> None:
    def look(built: master.Master) -> list[str]:
        return [type(addon).__name__ for addon in built.addons.chain]

    order = within(house, look)

    assert order.index("Enforcer") < order.index("NextLayer") < order.index("View")
    assert order.index("TlsConfig") < order.index("Trust")
