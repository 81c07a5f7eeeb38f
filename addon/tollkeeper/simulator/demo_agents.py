"""The demo's agents: the real SDKs, told nothing of a proxy.

Run as a script of its own, by a Python that has ``openai`` and ``anthropic``; imports nothing of
ours. Prints one line: the answer, or the exception that the SDK raised, with its sentence.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from typing import Any


def ask_openai(model: str, prompt: str, **more: Any) -> str:
    """One streamed chat completion; the text."""
    import openai

    chunks = openai.OpenAI().chat.completions.create(
        model=model, messages=[{"role": "user", "content": prompt}], stream=True, **more
    )
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)


def ask_anthropic(model: str, prompt: str) -> str:
    """One message; the text."""
    import anthropic

    message = anthropic.Anthropic().messages.create(
        model=model, max_tokens=300, messages=[{"role": "user", "content": prompt}]
    )
    return "".join(block.text for block in message.content if block.type == "text")


_SHIP = "Roll the release out to production. [sim text=The%20release%20is%20on%20its%20way.]"
_DROP = "Drop the production database. [sim text=Dropped.]"

SCENES: dict[str, tuple[str, Callable[[], str]]] = {
    "allowed": ("openai", lambda: ask_openai("gpt-4o-mini", "Say hello.")),
    "refused": ("anthropic", lambda: ask_anthropic("claude-opus-4-1", "Say hello.")),
    "over-budget": (
        "openai",
        lambda: ask_openai("gpt-4o-mini", "Write a novel.", max_tokens=16_000),
    ),
    "approved": ("anthropic", lambda: ask_anthropic("claude-haiku-4-5", _SHIP)),
    "rejected": ("openai", lambda: ask_openai("gpt-4o-mini", _DROP)),
}


def play(scene: str) -> str:
    """What the agent saw, in one line."""
    name, ask = SCENES[scene]
    sdk = importlib.import_module(name)
    try:
        return f"answer: {ask()}"
    except sdk.APIStatusError as e:
        body = e.body if isinstance(e.body, dict) else {}
        error = body.get("error", body)
        sentence = error.get("message", e.message) if isinstance(error, dict) else e.message
        return f"{type(e).__name__} {e.status_code}: {' '.join(str(sentence).split())}"
    except sdk.APIError as e:
        return f"{type(e).__name__}: {' '.join(str(e).split())}"


if __name__ == "__main__":
    sys.stdout.write(play(sys.argv[1]) + "\n")
