"""Simulated providers behind real TLS, for the demo and the tests."""
