"""The books: one port (``port.py``), one module an engine."""
