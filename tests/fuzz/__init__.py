"""Hostile bytes for every parser: what is promised for whatever comes, and a fuzzer that looks for more.

``python -m fuzz`` in this folder's parent names the targets; ``python -m fuzz TARGET SECONDS`` fuzzes one,
guided by coverage where `atheris` is installed. What it finds becomes a test beside the parser.
"""
