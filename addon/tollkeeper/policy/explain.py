"""Asks a policy about one request without a proxy, and says why it decides as it does."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote_plus, urlsplit

from tollkeeper import facts
from tollkeeper.core.billing import with_payer
from tollkeeper.core.decide import CallCase, resolve
from tollkeeper.core.keys import sent_to
from tollkeeper.core.pricing import PriceBook
from tollkeeper.core.units import fitting
from tollkeeper.domain import (
    Call,
    Code,
    Decision,
    Effect,
    OtherHosts,
    Policy,
    Principal,
    Provider,
    Reason,
)
from tollkeeper.errors import PolicyError, UsageError, WireError
from tollkeeper.policy.document import read
from tollkeeper.policy.examples import (
    UnknownPlaceError,
    books_of,
    decide,
    instant_ns,
    principal_of,
    said_by,
)
from tollkeeper.policy.given import Given, GivenCall, GivenRequest, RawRequest
from tollkeeper.policy.problems import tree_of, valid
from tollkeeper.policy.tree import Node, Place
from tollkeeper.wire.dialect import Inbound
from tollkeeper.wire.route import parse, recognise


@dataclass(frozen=True, slots=True)
class Explanation:
    """What was decided about one request.

    Attributes:
        provider: Where it goes, or None when it is no provider's.
        model: The model it goes to, aliases resolved.
        rules: The rules that match it, in the policy's order.
        facts: What the ledger would record of it: plain JSON values.
    """

    decision: Decision
    provider: str | None = None
    model: str | None = None
    rules: tuple[str, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)


def explain(
    policy: Policy, request: Mapping[str, Any], *, now_ns: int | None = None
) -> Explanation:
    """Judge one request on empty books, or with what it says was spent.

    Args:
        request: ``{agent, call: {model, prompt, …}}`` as in an example's ``given``, or
            ``{agent, http: {method, url, headers, body}}``.
        now_ns: When; a call that says its time and weekday keeps them. Unsaid: Monday noon.

    Raises:
        PolicyError: The request is not of one of these shapes.
        UsageError: It cannot be said where the call would go.
    """
    root = tree_of(request, Place(0, 0, 0, "request"))
    return _explained(policy, root, now_ns)


def explain_file(policy: Policy, path: Path, *, now_ns: int | None = None) -> Explanation:
    """``explain`` for a request in a YAML or JSON file; problems have their positions.

    Raises:
        PolicyError: The file cannot be read, or is no request.
        UsageError: It cannot be said where the call would go.
    """
    place = Place(0, 0, 0, str(path))
    try:
        data = path.read_bytes()
    except OSError as e:
        message = f"the request cannot be read ({e.strerror or e})"
        raise PolicyError([place.problem(message)]) from e
    root, problems = read(data, str(path))
    if root is None or problems:
        raise PolicyError(problems)
    return _explained(policy, root, now_ns)


def _explained(policy: Policy, root: Node, now_ns: int | None) -> Explanation:
    if root.at("http") is not None:
        return _raw(policy, valid(GivenRequest, root), now_ns)
    given = valid(Given, root)
    try:
        case, decision = decide(policy, given, now_ns=None if _says_when(root) else now_ns)
    except UnknownPlaceError as e:
        raise UsageError(str(e)) from e
    return explanation(case, decision)


def _says_when(root: Node) -> bool:
    return any(root.at("call", key) is not None for key in ("time", "weekday"))


def explanation(case: CallCase, decision: Decision) -> Explanation:
    """What is worth knowing of a judged case."""
    record = case.record()
    return Explanation(decision, case.provider, case.model, tuple(record.get("rules", ())), record)


def _raw(policy: Policy, given: GivenRequest, now_ns: int | None) -> Explanation:
    target = urlsplit(given.http.url)
    provider = facts.provider_for_host(target.hostname or "", policy.providers)
    if provider is None:
        return Explanation(_other_host(policy.other_hosts, target.hostname or ""))
    at_ns = instant_ns(GivenCall(model="*"), policy.timezone) if now_ns is None else now_ns
    principal = principal_of(given, policy, at_ns)
    inbound = _inbound(given.http, provider)
    asked = ask(policy, PriceBook(policy), inbound, principal, at_ns, said_by(given))
    if isinstance(asked, Decision):
        return Explanation(asked, provider.name)
    return explanation(asked, books_of(given, policy).judge(asked))


def _inbound(http: RawRequest, provider: Provider) -> Inbound:
    target = urlsplit(http.url)
    headers = {name.lower(): value for name, value in http.headers.items()}
    body = http.body
    if isinstance(body, dict):
        headers.setdefault("content-type", "application/json")
        body = json.dumps(body, ensure_ascii=False, default=float)
    path = target.path or "/"
    host = target.hostname or ""
    return Inbound(provider, http.method, path, target.query, headers, body.encode(), host)


def ask(
    policy: Policy,
    book: PriceBook,
    inbound: Inbound,
    principal: Principal,
    at_ns: int,
    said: Mapping[str, str],
) -> CallCase | Decision:
    """The case that a request makes, or the refusal of one that cannot be read."""
    endpoint = recognise(inbound.provider, inbound.method, inbound.path)
    if endpoint is None:
        message = (
            f"{inbound.method} {inbound.path} is not an endpoint of {inbound.provider.name} that "
            "Tollkeeper knows, so it cannot be metered."
        )
        return _refused(Code.UNKNOWN_ENDPOINT, message)
    try:
        call: Call = parse(inbound, endpoint)
        call = with_payer(call, inbound.provider, *_credentials(inbound))
        call = sent_to(call, inbound.provider, inbound.host)
    except WireError as e:
        return _refused(Code.UNREADABLE_REQUEST, str(e))
    provider, model = resolve(policy, call)
    sheet = fitting(book.sheet(provider, model, at_ns, call.service_tier) if model else None, call)
    return CallCase(call, principal, policy, sheet, at_ns, said)


def _credentials(inbound: Inbound) -> tuple[list[tuple[str, str]], bool]:
    """The headers of a request that may carry a key, and whether its query does."""
    known = facts.credential_headers()
    headers = [(name, value) for name, value in inbound.headers.items() if name in known]
    names = (unquote_plus(part.partition("=")[0]).lower() for part in inbound.query.split("&"))
    return headers, not facts.credential_query().isdisjoint(names)


def _refused(code: Code, message: str) -> Decision:
    return Decision(Effect.DENY, (Reason(Effect.DENY, code, "wire", message),))


def _other_host(others: OtherHosts, host: str) -> Decision:
    """What happens to a host that is no provider's; the named lists win."""
    name = facts.normalise_host(host) or host
    source, treatment = "other_hosts.default", others.default
    for listed in ("tunnel", "inspect", "deny"):
        for entry in getattr(others, listed):
            if name == entry or (entry.startswith("*.") and name.endswith(entry[1:])):
                source, treatment = f"other_hosts.{listed}", listed
    if treatment == "inspect" and name in facts.login_hosts():
        treatment = "tunnel"
    effect = Effect.DENY if treatment == "deny" else Effect.ALLOW
    said = {
        "deny": "refused",
        "tunnel": "tunnelled, not decrypted",
        "inspect": "decrypted and passed",
    }
    message = f"{name} is no model provider's host: {said[treatment]}."
    return Decision(effect, (Reason(effect, Code.POLICY_DENIED, source, message),))
