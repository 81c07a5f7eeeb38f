"""A private Python with the SDKs that the demo drives, for installations that came without them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tollkeeper.errors import UsageError

REQUIREMENTS = ("openai>=3.0,<4", "anthropic>=2.0,<3")
_IMPORTS = "import openai, anthropic"
_INSTALL_S = 600
_CHECK_S = 60


def cache_folder() -> Path:
    """Where the private environment is kept for the next time."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "tollkeeper" / "demo-sdks"


def private_python(folder: Path | None = None) -> Path:
    """A Python that imports the SDKs, made at the first call (the only one that needs a network).

    Raises:
        UsageError: It could not be made; says the command that installs them by hand.
    """
    folder = folder or cache_folder()
    python = folder / "bin" / "python"
    if python.exists() and _works(python):
        return python
    folder.parent.mkdir(parents=True, exist_ok=True)
    uv = shutil.which("uv")
    if uv:
        steps = [
            [uv, "venv", "--clear", "--quiet", "--python", sys.executable, str(folder)],
            [uv, "pip", "install", "--quiet", "--python", str(python), *REQUIREMENTS],
        ]
    else:
        steps = [
            [sys.executable, "-m", "venv", "--clear", str(folder)],
            [str(python), "-m", "pip", "install", "--quiet", *REQUIREMENTS],
        ]
    for step in steps:
        _do(step)
    return python


def _works(python: Path) -> bool:
    command = [str(python), "-c", _IMPORTS]
    done = subprocess.run(command, capture_output=True, timeout=_CHECK_S, check=False)  # noqa: S603 - a venv of ours
    return done.returncode == 0


def _do(command: list[str]) -> None:
    try:
        subprocess.run(command, capture_output=True, text=True, timeout=_INSTALL_S, check=True)  # noqa: S603 - fixed words
    except subprocess.CalledProcessError as e:
        complaint = (e.stderr or e.stdout or "").strip().splitlines()
        raise UsageError(
            _advice(complaint[-1] if complaint else f"exit code {e.returncode}")
        ) from e
    except (OSError, subprocess.TimeoutExpired) as e:
        raise UsageError(_advice(str(e))) from e


def _advice(cause: str) -> str:
    return (
        f"The demo drives the real OpenAI and Anthropic SDKs, and they could not be fetched"
        f" ({cause}). Install them beside Tollkeeper: pip install openai anthropic"
    )
