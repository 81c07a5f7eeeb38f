"""Simulated providers behind real TLS, for the demo and the tests.

Begin with ``lab.py`` to use them, ``script.py`` for what a prompt can ask of them, ``server.py`` for
how they work.
"""
