"""The runtimes and clients that ``doctor`` tries, and what helps the ones that do not obey."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

HOST = "probe.tollkeeper.invalid"
"""Nobody can have this name. Source: https://www.rfc-editor.org/rfc/rfc6761#section-6.4"""

NOT_THERE = 77
"""The exit code of a probe whose library is not installed."""

_URL = f"https://{HOST}/"


@dataclass(frozen=True, slots=True)
class Runtime:
    """One program, or one library in it, that can ask a question over HTTPS.

    Attributes:
        key: Its proxy user, and its name for people.
        words: The command that asks.
        asks_version: The command whose first line is its version.
        past: What to do when it goes past the proxy.
        settings: Put over what ``run`` sets, to keep the probe short.
    """

    key: str
    words: tuple[str, ...]
    asks_version: tuple[str, ...]
    past: str
    settings: Mapping[str, str] = field(default_factory=dict)

    @property
    def program(self) -> str:
        """What must be on the path."""
        return self.words[0]


def _python(library: str, code: str, past: str) -> Runtime:
    """A library of the Python that the path finds, if it has it."""
    ask = (
        "import sys\n"
        f"try: import {library}\n"
        f"except ImportError: sys.exit({NOT_THERE})\n"
        f"URL = {_URL!r}\n{code}"
    )
    name = library.partition(".")[0]
    version = (
        f"import {name}, platform; print(getattr({name}, '__version__', platform.python_version()))"
    )
    key = f"python3-{name}"
    return Runtime(key, ("python3", "-c", ask), ("python3", "-c", version), past)


_AIOHTTP = """
import asyncio
async def ask():
    async with aiohttp.ClientSession() as session:
        async with session.get(URL): pass
asyncio.run(ask())
"""
_FETCH = f"await (await fetch({_URL!r})).text()"
_NODE_FETCH = f"fetch({_URL!r}).then(a => a.text()).catch(() => process.exit(1))"

# Java reads no proxy variables: they are properties, and its HTTP clients take a proxy's
# credentials from an Authenticator in the program only.
# Source: https://docs.oracle.com/en/java/javase/21/core/java-networking.html
_JAVA_PAST = "give each program a ProxySelector, an Authenticator and a trust store"
_JAVA = f"""
public class Probe {{
  public static void main(String[] args) throws Exception {{
    java.net.URI.create("{_URL}").toURL().openStream().readAllBytes();
  }}
}}
"""

RUNTIMES: tuple[Runtime, ...] = (
    _python("urllib.request", "urllib.request.urlopen(URL, timeout=8)", "unset what its site sets"),
    _python("requests", "requests.get(URL, timeout=8)", "leave Session.trust_env at True"),
    _python("httpx", "httpx.get(URL, timeout=8)", "leave trust_env at True"),
    _python("httpx2", "httpx2.get(URL, timeout=8)", "leave trust_env at True"),
    _python("aiohttp", _AIOHTTP, "aiohttp.ClientSession(trust_env=True) in the program"),
    Runtime(
        "node", ("node", "-e", _NODE_FETCH), ("node", "--version"), "use Node 22.21, 24 or newer"
    ),
    Runtime(
        "deno", ("deno", "eval", _FETCH), ("deno", "--version"), "use a newer Deno",
        {"DENO_NO_UPDATE_CHECK": "1"},
    ),
    Runtime("bun", ("bun", "-e", _FETCH), ("bun", "--version"), "use a newer Bun"),
    Runtime(
        "curl", ("curl", "-sS", "-m", "8", _URL), ("curl", "--version"),
        "take `noproxy` out of its .curlrc",
    ),
    Runtime(
        "git", ("git", "ls-remote", f"{_URL}x"), ("git", "--version"),
        "git config --global --unset http.proxy", {"GIT_TERMINAL_PROMPT": "0"},
    ),
    Runtime(
        "go", ("go", "list", "-m", "-versions", "tollkeeper.invalid/x@latest"), ("go", "version"),
        "use http.ProxyFromEnvironment in the program",
        {"GOPROXY": _URL, "GOFLAGS": "-mod=mod", "GONOSUMDB": "*", "GOTOOLCHAIN": "local"},
    ),
    Runtime("ruby", ("ruby", "-rnet/http", "-e", f"Net::HTTP.get(URI('{_URL}'))"),
            ("ruby", "--version"), "leave Net::HTTP's proxy at :ENV"),
    Runtime("java", ("java", "Probe.java"), ("java", "--version"), _JAVA_PAST),
)  # fmt: skip

FILES: Mapping[str, str] = {"Probe.java": _JAVA}
"""What probes need beside them."""
