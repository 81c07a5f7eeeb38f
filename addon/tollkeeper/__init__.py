"""Tollkeeper governs what AI agents send to model providers, from inside mitmproxy.

Read `domain.py` for the nouns, then `proxy/enforcer.py` for the way of one call; it names every
other room. `core/decide.py` is what decides, `ledger/sqlite.py` what remembers.
"""

__version__ = "0.1.0"
