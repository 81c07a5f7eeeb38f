"""For people who run mitmproxy themselves: ``mitmdump -s "$(tollkeeper script)"``.

Weaker than ``tollkeeper up``: mitmproxy reloads a script whenever its file changes, and a broken edit
would remove it; other scripts may run beside it. What can be set safely is set, what is dangerous and
was asked for on the command line is refused.
"""

from __future__ import annotations

from mitmproxy import ctx
from mitmproxy.addonmanager import Loader

from tollkeeper.home import Home
from tollkeeper.proxy.locks import LOCKED
from tollkeeper.proxy.serve import our_addons, station_for
from tollkeeper.proxy.tunnels import Trust

STATION = station_for(Home.default(), None)


class Settings:
    """Sets mitmproxy's options as a governed proxy needs them."""

    def load(self, loader: Loader) -> None:
        """Before the locks look at them; ``scripts`` is how we got here."""
        ctx.options.update_known(
            **{
                name: value
                for name, value in LOCKED.items()
                if name in ("connection_strategy", "upstream_cert", "rawtcp", "onboarding")
            }
        )


addons = [Settings(), *our_addons(STATION), Trust(STATION)]
