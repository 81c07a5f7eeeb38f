"""Letting a call go: as it is or as the decision changed it, to whom it goes and with whose key."""

from __future__ import annotations

from dataclasses import replace

from mitmproxy import http

from tollkeeper import facts
from tollkeeper.core.keys import goes_with_own_key
from tollkeeper.domain import Changes, Policy, Provider
from tollkeeper.errors import WireError
from tollkeeper.proxy import disclose
from tollkeeper.proxy.outgoing import MissingKeyError, Outgoing, read_key
from tollkeeper.proxy.passage import Passage
from tollkeeper.proxy.reading import likeness
from tollkeeper.wire import route
from tollkeeper.wire.dialect import Inbound


class Forwarding:
    """Makes of an allowed call the request that leaves."""

    def __init__(self, outgoing: Outgoing) -> None:
        """Keep where the agents' own credentials wait."""
        self.outgoing = outgoing

    def forward(self, flow: http.HTTPFlow, passage: Passage, inbound: Inbound) -> None:
        """Let the call go: as it is, or as the decision changed it.

        Raises:
            WireError: When it is not any more what was judged, or cannot go where it is to go.
            MissingKeyError: When the key that is to go along is not there.
        """
        if likeness(flow.request) != passage.judged:
            raise WireError("The call is not any more what was judged.")
        call, admission, policy = passage.call, passage.admission, passage.policy
        assert call is not None
        assert admission is not None
        assert policy is not None
        changes, wanted = admission.decision.changes, admission.decision.key
        asked, goes_to = inbound.provider.name, changes.provider or inbound.provider.name
        signed = call.signed and goes_with_own_key(policy, wanted, asked, goes_to)
        changes = Changes() if signed else changes  # a change, refused before, breaks the signature
        provider = (
            provider_named(policy, changes.provider) if changes.provider else inbound.provider
        )
        body, path = written(passage, inbound, changes, provider, signed=signed)
        if provider is not inbound.provider:
            path = moved(flow, inbound, path, provider)
        self.choose_key(flow, passage, provider, path)
        if path != inbound.path:
            flow.request.path = path + (f"?{inbound.query}" if inbound.query else "")
        if body != inbound.body:
            flow.request.headers.pop("content-encoding", None)
            flow.request.content = body
        if "accept-encoding" in flow.request.headers and not call.signed:
            flow.request.headers["accept-encoding"] = "identity"
        disclose.forwarded(flow, passage.caller, call, admission)
        flow.response = None

    def choose_key(
        self, flow: http.HTTPFlow, passage: Passage, provider: Provider, path: str
    ) -> None:
        """Whose key goes along: the agent's own as it came, or the provider's, injected.

        The agent's own never goes to another provider than the one that it was sent to.
        """
        admission, asked = passage.admission, passage.caller.provider
        assert admission is not None
        assert asked is not None
        policy, wanted = passage.policy, admission.decision.key
        assert policy is not None
        if goes_with_own_key(policy, wanted, asked.name, provider.name):
            return
        if provider.key is None:
            raise MissingKeyError(f"the policy names no key for {provider.name}")
        if not facts.takes_key(provider, flow.request.host):
            raise MissingKeyError(
                f"{flow.request.host} is not among the hosts under providers.{provider.name}"
            )
        wardrobe = self.outgoing.wardrobes[flow]
        wardrobe.strip = True
        fact = facts.endpoint(provider, flow.request.method, path)
        mount = facts.mount_of(provider, flow.request.method, path)
        if fact is not None and fact.inject and mount is not None:
            wardrobe.inject = facts.key_header(mount, read_key(provider.key))


def written(
    passage: Passage, inbound: Inbound, changes: Changes, provider: Provider, *, signed: bool
) -> tuple[bytes, str]:
    """Body and path with what was decided put in; the passage knows the call as it is sent.

    Args:
        signed: Whether a signature goes along that covers the body, so that nothing is put in.
    """
    call = passage.call
    assert call is not None
    sent = call
    if changes.model is not None or provider is not inbound.provider:
        sent = replace(call, provider=provider.name, model=changes.model or call.model)
    passage.call = sent
    passage.usage_spliced = not signed and route.wants_usage_event(sent, inbound.body)
    return route.rewrite(
        call,
        inbound.body,
        inbound.path,
        changes,
        include_usage=passage.usage_spliced,
        content_type=inbound.headers.get("content-type", ""),
    )


def moved(flow: http.HTTPFlow, inbound: Inbound, path: str, provider: Provider) -> str:
    """The path at the other provider that an alias leads to; the flow goes to a host of it."""
    found = facts.reroute(inbound.provider, inbound.method, path, provider)
    if found is None:
        raise WireError(f"{provider.name} does not speak this endpoint.")
    if not provider.hosts:
        raise WireError(f"Name a host under providers.{provider.name}.hosts.")
    flow.request.host = provider.hosts[0]
    return found


def provider_named(policy: Policy, name: str) -> Provider:
    """A provider of the policy, or the built-in one of that name."""
    return policy.providers.get(name) or facts.providers()[name]
