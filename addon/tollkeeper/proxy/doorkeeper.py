"""Who may come in: proxy credentials, and what a CONNECT may lead to.

A wrong token on the way to a provider is accepted here and refused inside the tunnel, in the
provider's own words, because almost every client loses the reason of a refused CONNECT.
"""

from __future__ import annotations

import base64
import binascii

from mitmproxy import connection, http

from tollkeeper import facts
from tollkeeper.core import identity
from tollkeeper.core.snapshot import TokenRecord
from tollkeeper.core.standing import standing_reason
from tollkeeper.domain import Code, Effect, Policy, Principal, Reason
from tollkeeper.proxy.fail_closed import fail_closed
from tollkeeper.proxy.station import Caller, Station

CHALLENGE = 'Basic realm="tollkeeper"'
HOUSE_PORTS = (80, 443)
"""Plain and over TLS: some clients open a tunnel for either."""


def credentials(header: str) -> tuple[str, str] | None:
    """User and token of a ``Proxy-Authorization`` header, or None when there is nothing usable."""
    scheme, _, value = header.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        user, colon, token = base64.b64decode(value.strip(), validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return None
    return (user, token) if colon else None


def answer(status: int, text: str, *headers: tuple[str, str]) -> http.Response:
    """A plain answer of the proxy itself."""
    fields = {"content-type": "text/plain; charset=utf-8", "x-should-retry": "false"}
    return http.Response.make(status, text + "\n", fields | dict(headers))


class Doorkeeper:
    """Authenticates connections and decides which tunnels are opened, and how."""

    def __init__(self, station: Station) -> None:
        """Keep the station."""
        self.station = station

    def fault(self, flow: http.HTTPFlow) -> http.Response:
        """The refusal that stands while a hook runs."""
        return answer(503, "Tollkeeper could not decide about this connection, so it stays closed.")

    def faulted(self, flow: http.HTTPFlow, hook: str, error: BaseException) -> None:
        """Count it; the traceback is in the log."""
        self.station.turned_away[f"fault in {hook}"] += 1

    # ------------------------------------------------------------------------------ identity

    def caller_of(self, header: str | None) -> Caller | None:
        """Who these credentials are; None when there are none."""
        pair = credentials(header) if header else None
        if pair is None:
            return None
        user, token = pair
        caller = Caller(user=user, token_sha256=identity.token_sha256(token))
        self.look_again(caller)
        return caller

    def look_again(self, caller: Caller) -> None:
        """Ask the ledger who the caller is now: tokens are revoked and agents resumed meanwhile."""
        agent, label = identity.split_user(caller.user)
        ledger, now_ns = self.station.ledger, self.station.now_ns()
        token = ledger.identify(agent, caller.token_sha256) if identity.valid_name(agent) else None
        caller.principal = caller.known = caller.refused = None
        if token is None:
            caller.refused = Reason(
                Effect.DENY,
                Code.UNKNOWN_AGENT,
                "token",
                "This proxy token is not known. Ask the operator for a new one.",
            )
            return
        principal = caller.known = self.principal(token, label, now_ns)
        caller.refused = standing_reason(ledger.standing(principal), now_ns)
        caller.principal = None if caller.refused else principal

    def principal(self, token: TokenRecord, label: str | None, now_ns: int) -> Principal:
        """The principal of a good token; its run is minted, or made from label or day."""
        timezone = self.station.policy_file.policy.timezone
        if token.run is not None:
            run = token.run
        elif label is not None:
            run = identity.label_run(token.agent, label)
        else:
            run = identity.day_run(token.agent, now_ns, timezone)
        return Principal(
            agent=token.agent,
            token_id=token.id,
            run=run,
            run_is_minted=token.run is not None,
            label=label,
        )

    # --------------------------------------------------------------------------------- hooks

    @fail_closed
    def http_connect(self, flow: http.HTTPFlow) -> None:
        """Answer a CONNECT: 407, 403, or open it as the policy says."""
        token = flow.request.headers.pop("proxy-authorization", None)
        if flow.client_conn in self.station.callers:
            flow.response = answer(403, "A tunnel inside a tunnel is not opened.")
            return
        caller = self.caller_of(token)
        if caller is None:
            self.turn_away(flow, "no credentials", challenge())
            return
        refusal = self.open(caller, flow.request.host, flow.request.port)
        if refusal is not None:
            self.turn_away(flow, f"connect {refusal.status_code}", refusal)
            return
        self.station.callers[flow.client_conn] = caller
        flow.response = None

    def open(self, caller: Caller, host: str, port: int) -> http.Response | None:
        """Set where the tunnel leads and how; an answer when it is not opened."""
        policy = self.station.policy_file.policy
        name = facts.normalise_host(host)
        if name is None:
            return answer(403, "Only host names are connected to, not addresses.")
        caller.target = (name, port)
        if facts.is_house(name):
            return refused_connect(caller.refused) if caller.refused else own_name(name, port)
        caller.provider = self.station.policy_file.provider_of(name)
        if caller.provider is not None:
            return None if port == 443 else answer(403, f"Port {port} of a provider is closed.")
        if caller.refused is not None:
            return refused_connect(caller.refused)
        return self.open_other(caller, policy, name, port)

    @staticmethod
    def open_other(caller: Caller, policy: Policy, name: str, port: int) -> http.Response | None:
        """Hosts that are no provider: tunnelled, inspected or denied."""
        treatment = other_host(policy, name)
        if treatment == "deny":
            return answer(403, f"The policy denies the host {name} (other_hosts).")
        if port not in policy.other_hosts.ports:
            return answer(403, f"Port {port} is not open (other_hosts.ports).")
        caller.decrypted = treatment == "inspect"
        return None

    def plain(self, flow: http.HTTPFlow, token: str | None) -> Caller | None:
        """The caller of a plain proxy request (``GET http://…``), who authenticates each time.

        Args:
            token: Its ``Proxy-Authorization`` header, which the flow does not hold any more.

        Sets ``flow.response`` and returns None when it goes no further.
        """
        caller = self.caller_of(token)
        if caller is None:
            self.turn_away(flow, "no credentials", challenge())
            return None
        name = facts.normalise_host(flow.request.host)
        policy = self.station.policy_file.policy
        refusal: http.Response | None
        if name is None:
            refusal = answer(403, "Only host names are connected to, not addresses.")
        elif facts.is_house(name):
            refused = caller.refused
            refusal = refused_connect(refused) if refused else own_name(name, flow.request.port)
        elif self.station.policy_file.provider_of(name) is not None:
            refusal = answer(403, "Providers are reached over https only.")
        elif caller.refused is not None:
            refusal = refused_connect(caller.refused)
        else:
            refusal = self.open_other(caller, policy, name, flow.request.port)
        if refusal is not None:
            self.turn_away(flow, f"plain {refusal.status_code}", refusal)
            return None
        caller.target = (name or "", flow.request.port)
        caller.decrypted = True
        return caller

    def turn_away(self, flow: http.HTTPFlow, cause: str, response: http.Response) -> None:
        """Refuse before anyone is known; counted, not written one by one."""
        self.station.turned_away[cause] += 1
        flow.response = response

    def client_connected(self, client: connection.Client) -> None:
        """Nothing is known yet; only loopback listeners are opened by ``serve``."""
        self.station.callers.pop(client, None)


def challenge() -> http.Response:
    """407, for clients that wait for it."""
    return answer(
        407,
        "This proxy needs credentials: HTTPS_PROXY=http://AGENT:TOKEN@HOST:PORT "
        "(see `tollkeeper env AGENT`).",
        ("proxy-authenticate", CHALLENGE),
    )


def refused_connect(reason: Reason) -> http.Response:
    """A refused CONNECT to a host that is no provider."""
    if reason.code is Code.UNKNOWN_AGENT:
        return answer(407, reason.message, ("proxy-authenticate", CHALLENGE))
    return answer(403, reason.message)


def own_name(name: str, port: int) -> http.Response | None:
    """An answer when this is not where the proxy itself is talked to."""
    if name != facts.HOUSE:
        return answer(403, f"Nothing is below {facts.HOUSE}, and nothing of it is forwarded.")
    return None if port in HOUSE_PORTS else answer(403, f"Port {port} of {facts.HOUSE} is closed.")


def other_host(policy: Policy, name: str) -> str:
    """``tunnel``, ``inspect`` or ``deny`` for a host that is no provider; the named lists win.

    Where logins are handed out nothing is ever decrypted: their answers are refresh tokens.
    """
    others, treatment = policy.other_hosts, policy.other_hosts.default
    for listed in ("tunnel", "inspect", "deny"):
        for entry in getattr(others, listed):
            if name == entry or (entry.startswith("*.") and name.endswith(entry[1:])):
                treatment = listed
    return "tunnel" if treatment == "inspect" and name in facts.login_hosts() else treatment
