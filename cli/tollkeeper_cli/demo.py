"""`demo`: the main job in one minute, without a key and without a network."""

from __future__ import annotations

import sys

import typer

from tollkeeper_cli.output import escape, paint, say


def demo() -> None:
    """See it work in a minute: no key, no network.

    Simulated providers behind real TLS, the proxy, agents with the real OpenAI and Anthropic SDKs.
    """
    from tollkeeper.simulator.demo import story

    all_told = True
    number = 0
    for step in story():
        if step.begins:
            print(f"\n… {escape(step.title)}")
        else:
            number += 1
            told = paint("✓", "32") if step.as_told else paint("✗", "31")
            print(f"\n{told} {paint(f'{number}. {escape(step.title)}', '1')}")
        if step.command:
            print(paint(f"  $ {escape(step.command)}", "2"))
        for line in step.lines:
            print(f"    {escape(line)}")
        sys.stdout.flush()
        all_told = all_told and step.as_told
    print()
    if not all_told:
        say("error: The demo did not go as told; the steps marked ✗ say where.")
        raise typer.Exit(1)
    print("Next: tollkeeper init, then tollkeeper run -- YOUR PROGRAM")
