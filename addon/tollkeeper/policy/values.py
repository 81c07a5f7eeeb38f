"""The scalars of the language: amounts, durations, sizes, names, hosts, addresses, patterns.

Each is a pydantic type. What it refuses it says as ``expected …``; the loader adds what it found
and where. A refusal of the kind ``advice`` stands for itself, because what was found must not be
repeated (a secret) or says nothing.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any, Final

import re2
from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

from tollkeeper import facts
from tollkeeper.core.identity import valid_name
from tollkeeper.domain import NANO_PER_USD, NS_PER_SECOND
from tollkeeper.policy.document import looks_secret

MAX_USD: Final = 1_000_000_000
"""Sums of a few of these still fit the 63 bits of a ledger column."""
MAX_COUNT: Final = 10**15
MAX_PATTERN: Final = 1000
"""Characters of one regular expression."""

_UNITS_NS: Final = {
    "s": NS_PER_SECOND,
    "m": 60 * NS_PER_SECOND,
    "h": 3600 * NS_PER_SECOND,
    "d": 86400 * NS_PER_SECOND,
}
_DURATION: Final = re.compile(r"([1-9][0-9]{0,6})([smhd])", re.ASCII)
_MAX_DURATION_NS: Final = 366 * _UNITS_NS["d"]
_UNITS_BYTES: Final = {"KiB": 1024, "MiB": 1024**2, "KB": 1000, "MB": 1000**2}
_SIZE: Final = re.compile(r"([1-9][0-9]{0,5})(KiB|MiB|KB|MB)", re.ASCII)
MIN_BODY_BYTES: Final = 64 * 1024
MAX_BODY_BYTES: Final = 512 * 1024**2
_ENV: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}", re.ASCII)
_TIME: Final = re.compile(r"([01][0-9]|2[0-3]):[0-5][0-9]", re.ASCII)
_DATE: Final = re.compile(r"20[0-9]{2}-[0-9]{2}-[0-9]{2}", re.ASCII)
_PROVIDER: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}", re.ASCII)
_PREFIX: Final = re.compile(r"(/[A-Za-z0-9._~-]+){0,16}", re.ASCII)
_PROXY: Final = re.compile(r"https?://(\[[0-9a-fA-F:]+\]|[^\s/@:\[\]]+):([0-9]{1,5})/?", re.ASCII)
_ADDRESS: Final = re.compile(r"(?:\[([0-9a-fA-F:.]+)\]|([^\s:/@\[\]]+)):([0-9]{1,5})", re.ASCII)


def expected(what: str) -> PydanticCustomError:
    """A refusal that the loader completes with what was found."""
    return PydanticCustomError("expected", "{what}", {"what": what})


def advice(sentence: str) -> PydanticCustomError:
    """A refusal that stands for itself."""
    return PydanticCustomError("advice", "{what}", {"what": sentence})


KEY_ADVICE: Final = (
    "keys are never written in a policy; put it into an environment variable and write "
    "key: {env: NAME}, or into a file of mode 0600 and write key: {file: PATH}"
)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, Decimal)) and not isinstance(value, bool)


def nano_usd(value: Any) -> int:
    """An amount in USD as nano-USD.

    Raises:
        PydanticCustomError: No number, negative, above ``MAX_USD`` or finer than a nano-dollar.
    """
    if not _is_number(value):
        raise expected("an amount in USD like 0.50")
    amount = Decimal(value)
    if not 0 <= amount <= MAX_USD:
        raise expected(f"an amount in USD from 0 to {MAX_USD}")
    nano = amount * NANO_PER_USD
    if nano != nano.to_integral_value():
        raise expected("an amount in USD with at most nine decimals")
    return int(nano)


def _decimal(value: Any) -> Decimal:
    if not _is_number(value):
        raise expected("a number")
    return Decimal(value)


def duration_ns(value: Any) -> int:
    """``30s``, ``10m``, ``24h`` or ``1d`` as nanoseconds, at most a year."""
    found = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        raise expected("a duration like 30s, 10m, 24h or 1d")
    ns = int(found[1]) * _UNITS_NS[found[2]]
    if ns > _MAX_DURATION_NS:
        raise expected("a duration of at most 366d")
    return ns


def _size_bytes(value: Any) -> int:
    found = _SIZE.fullmatch(value) if isinstance(value, str) else None
    if found is not None:
        value = int(found[1]) * _UNITS_BYTES[found[2]]
    if not isinstance(value, int) or isinstance(value, bool):
        raise expected("a size like 32MiB")
    if not MIN_BODY_BYTES <= value <= MAX_BODY_BYTES:
        raise expected("a size from 64KiB to 512MiB")
    return value


def _name(value: str) -> str:
    if not valid_name(value):
        raise expected(
            "a name of 1 to 64 letters, digits, '.', '_' or '-', not default or anonymous"
        )
    return value


def agent_entry(value: str) -> str:
    """The name of an agent, or ``default`` for all that are not named."""
    return value if value == "default" else _name(value)


def provider_name(value: str) -> str:
    """A provider's name; always lower case, so that two names never differ by case alone."""
    if not _PROVIDER.fullmatch(value):
        raise expected("a provider's name in lower case")
    return value


def _host(value: str) -> str:
    name = facts.normalise_host(value)
    if name is None:
        raise expected("a host name like llm.corp.example, without scheme, port or path")
    return name


def _host_or_suffix(value: str) -> str:
    if value.startswith("*."):
        return "*." + _host(value[2:])
    return _host(value)


def _env(value: str) -> str:
    if looks_secret(value):
        raise advice(KEY_ADVICE)
    if not _ENV.fullmatch(value):
        raise expected("the name of an environment variable like OPENAI_API_KEY")
    return value


def _port(text: str) -> int:
    port = int(text)
    if not 1 <= port <= 65535:
        raise expected("a port from 1 to 65535")
    return port


def _address(value: Any) -> tuple[str, int]:
    found = _ADDRESS.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        raise expected("an address with its port like 127.0.0.1:8443")
    return found[1] or found[2], _port(found[3])


def _proxy(value: str) -> str:
    if "@" in value:
        raise advice(
            "a password does not stand in a policy: put USER:PASSWORD where upstream.credentials says, "
            "{env: NAME} or {file: PATH}"
        )
    found = _PROXY.fullmatch(value)
    if found is None:
        raise expected("a proxy's URL like http://proxy.corp.example:3128")
    _port(found[2])
    return value.removesuffix("/")


def time_text(value: Any) -> str:
    """A time of day as 24-hour text, so that times compare as text."""
    if not isinstance(value, str) or not _TIME.fullmatch(value):
        raise expected("a time of day like 22:30")
    return value


def date_ns(value: Any) -> int:
    """A date like ``2026-12-01`` as the nanosecond at which it begins in UTC."""
    if not isinstance(value, str) or not _DATE.fullmatch(value):
        raise expected("a date like 2026-12-01")
    try:
        begins = datetime.fromisoformat(value).replace(tzinfo=UTC)
    except ValueError as e:
        raise expected("a date like 2026-12-01") from e
    return int(begins.timestamp()) * NS_PER_SECOND


def pattern(value: str) -> str:
    """A regular expression that RE2 takes, so that it matches in linear time.

    Source: https://github.com/google/re2/wiki/Syntax
    """
    if len(value) > MAX_PATTERN:
        raise expected(f"a regular expression of at most {MAX_PATTERN} characters")
    try:
        compiled(value)
    except re2.error as e:
        raise expected(f"an RE2 regular expression ({_said(e)})") from e
    return value


def compiled(value: str) -> Any:
    """Compile for searching in text; bounded memory, errors raised and not printed.

    Raises:
        re2.error: RE2 does not take it (back references, look-around, huge repetitions).
    """
    options = re2.Options()
    options.log_errors = False
    options.max_mem = 4 * 1024 * 1024
    return re2.compile(value, options)


def is_glob(text: str) -> bool:
    """Whether a text is a pattern and not just itself."""
    return any(character in text for character in "*?[")


def glob_pattern(glob: str) -> str:
    """A glob as RE2 to search with, which Python's own translation is not."""
    parts: list[str] = []
    rest = glob.strip("*")
    while rest:
        first, rest = rest[0], rest[1:]
        end = rest.find("]", 2 if rest.startswith("!") else 1) if first == "[" else -1
        if first == "*":
            parts.append(".*")
        elif first == "?":
            parts.append(".")
        elif end > 0:
            inner, rest = rest[:end], rest[end + 1 :]
            negated = inner.startswith("!")
            escaped = re.sub(r"([\\\[\]^&~|])", r"\\\1", inner[1:] if negated else inner)
            parts.append(f"[{'^' if negated else ''}{escaped}]")
        else:
            parts.append(re2.escape(first))
    start, end_of_text = ("" if glob[:1] == "*" else "\\A"), ("" if glob[-1:] == "*" else "\\z")
    return f"(?s:{start}{''.join(parts)}{end_of_text})"


def glob(value: str) -> str:
    """A text that is equal, or a glob, to what a rule looks at."""
    if is_glob(value):
        try:
            compiled(glob_pattern(value))
        except re2.error as e:
            raise expected("text or a glob (*, ?, […])") from e
    return value


def _said(error: Exception) -> str:
    said = error.args[0] if error.args else ""
    return said.decode("utf-8", "replace") if isinstance(said, bytes) else str(said)


def _schema(kind: str, **more: Any) -> WithJsonSchema:
    return WithJsonSchema({"type": kind, **more})


Usd = Annotated[int, BeforeValidator(nano_usd), _schema("number", minimum=0, maximum=MAX_USD)]
Number = Annotated[Decimal, BeforeValidator(_decimal), _schema("number")]
Duration = Annotated[
    int, BeforeValidator(duration_ns), _schema("string", pattern="^[1-9][0-9]*[smhd]$")
]
Size = Annotated[
    int,
    BeforeValidator(_size_bytes),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "pattern": "^[1-9][0-9]*(KiB|MiB|KB|MB)$"},
                {"type": "integer"},
            ]
        }
    ),
]
Count = Annotated[int, Field(ge=0, le=MAX_COUNT)]
AtLeastOne = Annotated[int, Field(ge=1, le=MAX_COUNT)]
Name = Annotated[str, AfterValidator(_name)]
AgentEntry = Annotated[str, AfterValidator(agent_entry)]
ProviderName = Annotated[str, AfterValidator(provider_name)]
Text = Annotated[str, Field(min_length=1, max_length=1000)]
Glob = Annotated[str, Field(min_length=1, max_length=256)]
Host = Annotated[str, AfterValidator(_host)]
HostOrSuffix = Annotated[str, AfterValidator(_host_or_suffix)]
Port = Annotated[int, Field(ge=1, le=65535)]
Env = Annotated[str, AfterValidator(_env)]
Address = Annotated[
    tuple[str, int], BeforeValidator(_address), _schema("string", pattern=":[0-9]{1,5}$")
]
Proxy = Annotated[str, AfterValidator(_proxy)]
TimeOfDay = Annotated[
    str, BeforeValidator(time_text), _schema("string", pattern="^[0-2][0-9]:[0-5][0-9]$")
]
Date = Annotated[
    int, BeforeValidator(date_ns), _schema("string", pattern="^20[0-9]{2}-[0-9]{2}-[0-9]{2}$")
]
Pattern = Annotated[str, AfterValidator(pattern), Field(min_length=1)]


def prefix(value: str) -> str:
    """A path before a dialect's own, ``/v1``; empty for none."""
    if not _PREFIX.fullmatch(value):
        raise expected("a path like /v1, with no slash at its end")
    return value


Prefix = Annotated[str, AfterValidator(prefix)]
