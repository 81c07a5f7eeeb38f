"""What every test stands on, whatever the machine and its user are like."""

from __future__ import annotations

import os
import tempfile
import time

import pytest
from hypothesis import HealthCheck, settings

USERS_OWN = (
    "ALL_PROXY", "BASH_ENV", "CI", "COLORTERM", "COLUMNS", "DISPLAY", "EDITOR", "ENV", "FORCE_COLOR",
    "HTTPS_PROXY", "HTTP_PROXY", "LANGUAGE", "LINES", "NO_COLOR", "NO_PROXY", "PAGER", "PYTHONWARNINGS",
    "PYTHONUTF8", "PYTHONIOENCODING", "PY_COLORS", "TMUX", "TOLLKEEPER_HOME", "TTY_COMPATIBLE",
    "TTY_INTERACTIVE", "VISUAL", "WORKSPACE",
    "ANTHROPIC_", "AWS_", "AZURE_", "CLAUDE_", "CURL_", "DBUS_", "DENO_", "GEMINI_", "GIT_", "GOOGLE_", "LC_",
    "NIX_SSL_", "NODE_", "OPENAI_", "REQUESTS_", "SSH_", "SSL_", "WAYLAND_", "XDG_",
)  # fmt: skip
"""Variables, and beginnings of some, that a user may have set and that decide something somewhere."""

EVERYWHERE = {
    "LANG": "C.UTF-8",
    "TERM": "dumb",
    "TZ": "<+0545>-5:45",  # no machine's: local time that is taken for UTC is seen on all of them
}


def is_the_users_own(name: str) -> bool:
    name = name.upper()  # programs read the proxies' names in small letters too
    return any(name.startswith(one) if one.endswith("_") else name == one for one in USERS_OWN)


def pytest_configure(config: pytest.Config) -> None:
    """Give this process, and every one that a test starts, the same surroundings on every machine."""
    home = tempfile.TemporaryDirectory(prefix="tollkeeper-tests-")
    config.add_cleanup(home.cleanup)
    for name in [name for name in os.environ if is_the_users_own(name)]:
        del os.environ[name]
    os.environ.update(EVERYWHERE, HOME=home.name)
    os.umask(0o022)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """How many run at once: tests wait as long as they work, and each of many needs its memory."""
    return min(max(3, os.cpu_count() or 1), 8)


LAST_SECONDS = 90
"""Of a day, in which no test begins: budgets and runs count by the day, and would begin anew in it."""


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """Let midnight (UTC) pass."""
    left = 86_400 - time.time() % 86_400
    if left < LAST_SECONDS:
        time.sleep(left + 0.1)


# The same examples in every run: what fails here fails everywhere, and nothing fails by chance.
# `uv run pytest --hypothesis-profile search` looks at others each time.
settings.register_profile(
    "determined",
    deadline=None, derandomize=True, database=None, suppress_health_check=[HealthCheck.too_slow],
)  # fmt: skip
settings.register_profile("search", deadline=None)
settings.load_profile("determined")
