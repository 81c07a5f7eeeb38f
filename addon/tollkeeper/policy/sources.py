"""Checks of what a policy takes from outside itself: providers, hosts, files, timezone."""

from __future__ import annotations

import stat
import zoneinfo
from dataclasses import dataclass
from pathlib import Path

import re2

from tollkeeper import facts
from tollkeeper.policy.compile import resolve_path
from tollkeeper.policy.model import KeyEntry, OtherHostsEntry, PolicyEntry, ProviderEntry
from tollkeeper.policy.problems import Report, Steps, suggestion
from tollkeeper.policy.tree import Node
from tollkeeper.policy.values import is_glob

_MAX_PEM_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Checked:
    """What every check looks at.

    Attributes:
        root: The tree that ``entry`` was read from; gives the positions.
        written: The tree with the places that did not validate, so that one mistake does not make
            others; its lists may be longer.
        folder: What file names are relative to.
    """

    root: Node
    entry: PolicyEntry
    written: Node
    folder: Path
    report: Report

    def error(self, message: str, *way: str | int, key: bool = False) -> None:
        """Report an error at a place."""
        self.report.error(self.root.where(*way, key=key), message)

    def warn(self, message: str, *way: str | int, key: bool = False) -> None:
        """Report a warning at a place."""
        self.report.warn(self.root.where(*way, key=key), message)

    def line(self, *way: str | int) -> str:
        """Where something stands, for a message about something else."""
        place = self.root.where(*way)
        return f"{place.path}:{place.line}"

    def names(self, section: str) -> frozenset[str]:
        """What a section names, valid or not."""
        node = self.written.at(section)
        return frozenset(node.value) if node and isinstance(node.value, dict) else frozenset()

    @property
    def providers(self) -> frozenset[str]:
        """Names of all providers, built in and own."""
        return frozenset(facts.providers()) | self.names("providers")


def check_sources(checked: Checked) -> None:
    """Everything of this module."""
    _timezone(checked)
    for name, entry in checked.entry.providers.items():
        _provider(checked, name, entry)
    _hosts_once(checked)
    _other_hosts(checked, checked.entry.other_hosts)
    if checked.entry.upstream.credentials is not None:
        _key(checked, checked.entry.upstream.credentials, ("upstream", "credentials"))
        if checked.entry.upstream.proxy is None:
            checked.error("credentials need the proxy that they are for", "upstream", "credentials")
    if checked.entry.upstream.trust:
        _pem(checked, checked.entry.upstream.trust, "upstream", "trust")


def _timezone(checked: Checked) -> None:
    name = checked.entry.timezone
    try:
        zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        close = suggestion(name, zoneinfo.available_timezones())
        checked.error(f"unknown timezone '{name}'{close}", "timezone")


def _provider(checked: Checked, name: str, entry: ProviderEntry) -> None:
    way: Steps = ("providers", name)
    built_in = facts.providers().get(name)
    if built_in is None:
        for key in ("hosts", "api"):
            if getattr(entry, key) is None and checked.written.at(*way, key) is None:
                close = suggestion(name, facts.providers()).replace("known are", "built in are")
                checked.error(
                    f"'{name}' is not built in, so it needs '{key}'{close}", *way, key=True
                )
    elif entry.api is not None or entry.prefix is not None:
        key = "api" if entry.api is not None else "prefix"
        checked.error(
            f"'{name}' is built in and its {key} is known; take it away, or give a provider of "
            "your own another name",
            *way,
            key,
            key=True,
        )
    if entry.key is not None:
        _key(checked, entry.key, (*way, "key"))
        if built_in is not None and built_in.anyones_hosts and not entry.hosts:
            checked.error(
                f"anybody can have a host of {name}, so a key needs the hosts that it is for; write "
                "hosts: [NAME.openai.azure.com] beside it",
                *way,
                "key",
                key=True,
            )
    if entry.trust:
        _pem(checked, entry.trust, *way, "trust")
    _deployments(checked, entry, (*way, "deployments"))


def _deployments(checked: Checked, entry: ProviderEntry, way: Steps) -> None:
    spelled: dict[str, str] = {}
    for deployment, model in (entry.deployments or {}).items():
        if is_glob(model):
            checked.error("a deployment runs one model, not a pattern", *way, deployment)
        if (first := spelled.setdefault(deployment.lower(), deployment)) != deployment:
            message = f"'{deployment}' and '{first}' differ in letter case only"
            checked.error(message, *way, deployment, key=True)


def _key(checked: Checked, entry: KeyEntry, way: Steps) -> None:
    if (entry.env is None) == (entry.file is None):
        if not any(checked.written.at(*way, one) for one in ("env", "file")):
            checked.error("expected {env: NAME} or {file: PATH}, found neither", *way)
        elif entry.env is not None:
            checked.error("expected either env or file, found both", *way)
        return
    if entry.file is None:
        return
    path = resolve_path(entry.file, checked.folder)
    try:
        status = path.stat()
    except OSError as e:
        checked.error(f"the key's file cannot be read ({e.strerror})", *way, "file")
        return
    if not stat.S_ISREG(status.st_mode):
        checked.error("expected a file that holds the key, found something else", *way, "file")
    elif status.st_mode & 0o077:
        checked.warn("others may read the key's file; chmod 600 mends that", *way, "file")


def _pem(checked: Checked, written: str, *way: str | int) -> None:
    path = resolve_path(written, checked.folder)
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_PEM_BYTES)
    except OSError as e:
        checked.error(f"the trust root cannot be read ({e.strerror})", *way)
        return
    if b"-----BEGIN CERTIFICATE-----" not in data:
        checked.error("expected a PEM file with a certificate, found none in it", *way)


def _hosts_once(checked: Checked) -> None:
    """A host belongs to one provider, or nobody could say whose key goes there.

    The owner may claim hosts of a provider that is governed but not read (``api: none``).
    """
    owner: dict[str, str] = {
        host: name
        for name, one in facts.providers().items()
        if one.api != "none"
        for host in one.hosts
    }
    for name, entry in checked.entry.providers.items():
        for index, host in enumerate(entry.hosts or ()):
            other = owner.get(host) or _pattern_owner(host, read=True)
            if other is not None and other != name:
                checked.error(
                    f"host '{host}' belongs to provider '{other}' already",
                    "providers",
                    name,
                    "hosts",
                    index,
                )
            owner.setdefault(host, name)


def _pattern_owner(host: str, *, read: bool = False) -> str | None:
    for name, one in facts.providers().items():
        if read and one.api == "none":
            continue
        if any(re2.fullmatch(pattern, host) for pattern in one.host_patterns):
            return name
    return None


def _other_hosts(checked: Checked, entry: OtherHostsEntry) -> None:
    seen: dict[str, str] = {}
    governed = {host for one in facts.providers().values() for host in one.hosts} | {
        host for one in checked.entry.providers.values() for host in one.hosts or ()
    }
    for name in ("inspect", "deny", "tunnel"):
        for index, host in enumerate(getattr(entry, name) or ()):
            way: Steps = ("other_hosts", name, index)
            if host in governed or _pattern_owner(host):
                checked.error(f"'{host}' is a model provider's host and always governed", *way)
            elif seen.setdefault(host, name) != name:
                checked.error(f"'{host}' stands under '{seen[host]}' already", *way)
