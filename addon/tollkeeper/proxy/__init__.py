"""The only importers of mitmproxy."""
