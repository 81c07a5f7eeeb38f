"""Whether the caller may call at all right now; holds in observe mode too."""

from __future__ import annotations

from tollkeeper.core.snapshot import Standing
from tollkeeper.domain import Code, Effect, Reason


def standing_reason(standing: Standing, now_ns: int) -> Reason | None:
    """Why this lineage may not call at this moment, or None.

    A pause, deletion or stop of any ancestor counts for its descendants, who are not told whose.
    """
    token, agents, run = standing.token, standing.agents, standing.run
    if token is None or not agents:
        return _unknown("This proxy token is not known. Ask the operator for a new one.")
    if token.revoked_ns is not None:
        return _unknown("This proxy token was revoked. Ask the operator for a new one.")
    if token.expires_ns is not None and token.expires_ns <= now_ns:
        return _unknown("This proxy token has expired. Ask the operator for a new one.")
    for record in agents:
        whose = "This agent" if record is agents[0] else "An agent above this one"
        if record.state == "deleted":
            return _unknown(f"{whose} was deleted.")
        if record.state != "active":
            return _paused("agent", f"{whose} is paused until the operator resumes it.")
    if run is not None and run.state == "stopped":
        return _paused("run", "This run was stopped by the operator.")
    if run is not None and run.state != "active":
        return _paused("run", "This run is paused until the operator resumes it.")
    return None


def _unknown(message: str) -> Reason:
    return Reason(Effect.DENY, Code.UNKNOWN_AGENT, "token", message)


def _paused(source: str, message: str) -> Reason:
    return Reason(Effect.DENY, Code.AGENT_PAUSED, source, message)
