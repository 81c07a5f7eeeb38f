"""What a child process needs in its environment to go through the proxy, whatever it is written in.

Every variable is set even where one would do, because an inherited value would win otherwise.
Measured with 63 client programs of 13 stacks; those marked *documented* come from their manuals.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tollkeeper.launch.direct import LOOPBACK

PLACEHOLDER = "injected-by-tollkeeper"

_PROXIED = ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY")

# A file with all roots, because these replace the system's. A folder will not do: litellm and
# aider refuse one.
_BUNDLE_NAMES = (
    "SSL_CERT_FILE",  # OpenSSL, and with it Python, curl, Ruby; Go, rustls-native-certs, Bun
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "CODEX_CA_CERTIFICATE",
    "GIT_SSL_CAINFO",
    "PIP_CERT",
    # Source: https://doc.rust-lang.org/cargo/reference/config.html#httpcainfo
    "CARGO_HTTP_CAINFO",
    # Source: https://docs.aws.amazon.com/cli/latest/userguide/cli-configure-envvars.html
    "AWS_CA_BUNDLE",
    # Source: https://docs.deno.com/runtime/reference/env_variables/
    "DENO_CERT",
    # Source: https://grpc.github.io/grpc/core/md_doc_environment_variables.html
    "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH",
)

# Only where they are set already: they would win, but nobody needs them otherwise.
_BUNDLE_IF_SET = (
    "NIX_SSL_CERT_FILE",
    "HTTPLIB2_CA_CERTS",
    "CLOUDSDK_CORE_CUSTOM_CA_CERTS_FILE",
    "npm_config_cafile",
)
_PROXIED_IF_SET = ("npm_config_proxy", "npm_config_https_proxy")

# A person may need minutes to answer a held call.
_PATIENCE_MS = 900_000
_PATIENCE_NAMES = (
    "CLAUDE_STREAM_FIRST_BYTE_TIMEOUT_MS",
    "CLAUDE_STREAM_IDLE_TIMEOUT_MS",
    "API_TIMEOUT_MS",
)
_OPENCODE = "OPENCODE_CONFIG_CONTENT"
_OPENCODE_PROVIDERS = ("openai", "anthropic")

_REMOVED = ("SSL_CERT_DIR",)  # would be asked beside the bundle, and by some clients before it
_NODE_WITH_ENV_PROXY = {22: 21, 24: 0}  # first minor version of each line
_NODE_VERSION = re.compile(r"v?(\d+)\.(\d+)")
_SHORTEST_SECRET = 12  # shorter ones are not looked for elsewhere: they could be any word
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def environment(
    base: Mapping[str, str],
    *,
    proxy_url: str,
    ca_certificate: Path,
    bundle: Path,
    scrub: Iterable[str] = (),
    direct: Iterable[str] = (),
) -> dict[str, str]:
    """The child's whole environment.

    Args:
        base: What it would have inherited.
        proxy_url: ``http://AGENT:TOKEN@127.0.0.1:PORT``.
        ca_certificate: Our CA (and the user's own), for runtimes that add to their roots.
        bundle: Public roots and those, for runtimes that replace their roots.
        scrub: Names of provider keys that the proxy injects. The child gets a placeholder, because
            SDKs refuse to start without a key; the same secret under any other name goes too.
        direct: Hosts that go past the proxy, beside loopback (``direct.kept_direct``). What the
            base says of that is not believed.
    """
    child = {name: value for name, value in base.items() if name not in _REMOVED}
    for name in _PROXIED:
        child[name] = child[name.lower()] = proxy_url
    child["NO_PROXY"] = child["no_proxy"] = ",".join((*LOOPBACK, *direct))
    child.update(dict.fromkeys(_BUNDLE_NAMES, str(bundle)))
    child.update({name: str(bundle) for name in _BUNDLE_IF_SET if name in base})
    child.update({name: proxy_url for name in _PROXIED_IF_SET if name in base})
    child["NODE_EXTRA_CA_CERTS"] = str(ca_certificate)
    child["NODE_USE_ENV_PROXY"] = "1"
    for name in _PATIENCE_NAMES:
        child[name] = str(max(_PATIENCE_MS, _milliseconds(base.get(name))))
    child[_OPENCODE] = _patient_opencode(base.get(_OPENCODE))
    return _scrubbed(child, tuple(scrub))


def shell_lines(before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    """Lines of POSIX shell that turn one environment into the other, for ``eval``.

    Values are quoted so that no shell reads them as anything but text.
    """
    lines = [f"unset {name}" for name in sorted(before.keys() - after.keys()) if _is_name(name)]
    changed = sorted(name for name, value in after.items() if before.get(name) != value)
    return lines + [f"export {n}={shlex.quote(after[n])}" for n in changed if _is_name(n)]


def node_warning(version: str) -> str | None:
    """A sentence when this Node's ``fetch`` ignores proxy variables, None when it obeys them.

    Args:
        version: As ``node --version`` prints it.

    Source: https://nodejs.org/api/cli.html#node_use_env_proxy1 (since 22.21.0 and 24.0.0)
    """
    found = _NODE_VERSION.match(version.strip())
    if found is None:
        return None
    major, minor = int(found[1]), int(found[2])
    if major > max(_NODE_WITH_ENV_PROXY):
        return None
    if major in _NODE_WITH_ENV_PROXY and minor >= _NODE_WITH_ENV_PROXY[major]:
        return None
    return (
        f"Node {major}.{minor} ignores HTTPS_PROXY: its programs will go past the proxy."
        " Use Node 22.21, 24 or newer."
    )


def _scrubbed(child: dict[str, str], names: tuple[str, ...]) -> dict[str, str]:
    secrets = {v for name in names if len(v := child.get(name, "")) >= _SHORTEST_SECRET}
    scrubbed = {n: PLACEHOLDER if value in secrets else value for n, value in child.items()}
    return scrubbed | dict.fromkeys(names, PLACEHOLDER)


def _milliseconds(text: str | None) -> int:
    return int(text) if text is not None and text.isdecimal() and text.isascii() else 0


def _patient_opencode(given: str | None) -> str:
    """The user's own configuration with our patience put in; left alone when it is no JSON."""
    try:
        config = json.loads(given) if given and given.strip() else {}
    except ValueError:
        return given or ""
    if not isinstance(config, dict):
        return given or ""
    for provider in _OPENCODE_PROVIDERS:
        options = _member(_member(_member(config, "provider"), provider), "options")
        options.update({"headerTimeout": False, "timeout": False})
    return json.dumps(config)


def _member(parent: dict[str, Any], name: str) -> dict[str, Any]:
    """The object under that name, made when it is missing or no object."""
    child = parent.get(name)
    if not isinstance(child, dict):
        child = parent[name] = {}
    return child


def _is_name(name: str) -> bool:
    return _NAME.fullmatch(name) is not None
