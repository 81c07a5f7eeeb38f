"""For people who run mitmproxy themselves: ``mitmdump -s "$(tollkeeper script)"``.

Weaker than ``tollkeeper up``: other scripts may run beside it, and mitmproxy's console and web
interface keep commands that ours leaves out. It listens where mitmproxy was told to listen, on every
address unless ``--listen-host 127.0.0.1`` is said; nobody comes in without credentials. What can be
set safely is set; what is dangerous and was asked for on the command line stops mitmproxy with a
sentence that names it.
"""

from __future__ import annotations

from mitmproxy import ctx
from mitmproxy.addonmanager import Loader

from tollkeeper.home import Home
from tollkeeper.proxy.locks import LOCKED, Locks
from tollkeeper.proxy.serve import SILENCE_SECONDS, our_addons, station_for
from tollkeeper.proxy.tunnels import Trust

STATION = station_for(Home.default(), None)

SET = ("connection_strategy", "upstream_cert", "rawtcp", "onboarding")
"""Locked options whose value is not mitmproxy's own; nobody asks for the others by accident."""


class Settings:
    """Sets mitmproxy's options as a governed proxy needs them."""

    def load(self, loader: Loader) -> None:
        """Before the locks look at them."""
        ctx.options.update_known(
            **{name: LOCKED[name] for name in SET},
            tcp_timeout=SILENCE_SECONDS,
        )


# ``scripts`` is how we got here: it keeps the value that the command line gave it.
LOCKS = Locks(STATION.turned_away, leave=("scripts",))
addons = [Settings(), *our_addons(STATION, LOCKS), Trust(STATION)]
