"""The cockpit: a page beside mitmweb that shows what waits, and where the operator answers it.

It is served by mitmweb's own server and wants mitmweb's token for looking. Answering wants the secret
that a code of the operator opened; the page sends it in a header of its own. All that comes from
elsewhere is put into the page as text, never as HTML, and is escaped for the eye before.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from functools import wraps
from pathlib import Path
from typing import Any

from mitmproxy import http
from mitmproxy.tools.web import app
from mitmproxy.tools.web.master import WebMaster

from tollkeeper.core.eyes import escape, readable
from tollkeeper.domain import Approval
from tollkeeper.errors import ApprovalError, LedgerError
from tollkeeper.proxy.answering import Answering
from tollkeeper.proxy.disclose import KEY, clock, usd

SECRET_HEADER = "X-Tollkeeper-Operator"  # noqa: S105 - a header's name

PAGE = Path(__file__).with_name("cockpit_page")
FILES = ("cockpit.js", "cockpit.css", "mitmweb.css")
TYPES = {".html": "text/html", ".js": "text/javascript", ".css": "text/css"}

MOST_HOLDS, MOST_REFUSALS = 200, 10
"""Rows on the page; `tollkeeper approval list` shows all."""

MOST_NOTE = 2_000
"""Characters of a note."""


class Handler(app.RequestHandler):
    """What all of ours have: mitmweb's own guard at the door, and the room of answers behind it."""

    answering: Answering

    def initialize(self, answering: Answering) -> None:
        """Given with the route."""
        self.answering = answering

    def set_default_headers(self) -> None:
        """Nothing of this is to be kept by a browser, or to run what is not ours."""
        super().set_default_headers()  # type: ignore[no-untyped-call]  # mitmproxy's is untyped
        self.set_header("Cache-Control", "no-store")
        self.set_header("Referrer-Policy", "no-referrer")
        self.set_header(
            "Content-Security-Policy",
            "default-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
        )

    def text(self, name: str, most: int = 200) -> str:
        """A text in the JSON that was sent.

        Raises:
            APIError: When there is none, or a longer one.
        """
        sent = self.json
        value = sent.get(name, "") if isinstance(sent, dict) else None
        if not isinstance(value, str) or len(value) > most:
            raise app.APIError(400, f"Expected {name}: a text of at most {most} characters.")
        return value


def told[H: Handler](
    method: Callable[[H], Awaitable[None]],
) -> Callable[[H], Awaitable[None]]:
    """Answer with the sentence of what could not be done."""

    @wraps(method)
    async def tell(self: H) -> None:
        try:
            await method(self)
        except (ApprovalError, LedgerError) as error:
            raise app.APIError(409, str(error)) from error

    return tell


class PageFile(Handler):
    """The page and its files."""

    def auth_fail(self, invalid_password: bool) -> None:
        """Say where the token is, instead of an empty page."""
        self.set_header("Content-Type", "text/plain; charset=utf-8")
        self.write(
            "This page wants mitmweb's token: open the address that `tollkeeper up` printed."
        )

    def get(self, name: str | None = None) -> None:
        """One of them."""
        file = PAGE / (name or "index.html")
        if not name:
            _ = self.xsrf_token  # sets the cookie that every POST must repeat
        self.set_header("Content-Type", f"{TYPES[file.suffix]}; charset=utf-8")
        self.write(file.read_bytes())


class State(Handler):
    """What waits, and what was refused last."""

    def get(self) -> None:
        """As one JSON object."""
        station = self.answering.station
        now_ns = station.now_ns()
        policy = station.policy_file
        try:
            held = station.ledger.approvals()
        except LedgerError as error:
            raise app.APIError(503, str(error)) from error
        self.write(
            {
                "mode": str(policy.policy.mode),
                "problem": escape(policy.broken) if policy.broken else None,
                "waiting": len(held),
                "holds": [row_of(approval, now_ns) for approval in held[:MOST_HOLDS]],
                "refusals": last_refusals(self.master),
            }
        )


class Question(Handler):
    """One held call, whole."""

    def get(self, approval: str) -> None:
        """Its facts and its body, as lines."""
        ledger = self.answering.station.ledger
        try:
            found = ledger.approval(approval)
            body = ledger.approval_body(found.id)
        except (ApprovalError, LedgerError) as error:
            raise app.APIError(404, str(error)) from error
        self.write(
            {
                **row_of(found, self.answering.station.now_ns()),
                "state": found.state,
                "digest": found.digest,
                "answered": answered(found),
                "facts": dict(facts_of(found)),
                "body": readable(body),
                "body_bytes": len(body),
            }
        )


class Unlock(Handler):
    """Opens the cockpit for the page that asks, and locks it again."""

    def post(self) -> None:
        """Give a secret for a code."""
        try:
            secret, ends_ns = self.answering.open_session(self.text("code"))
        except ApprovalError as error:
            raise app.APIError(403, str(error)) from error
        self.write({"secret": secret, "until": clock(ends_ns)})

    def delete(self) -> None:
        """Forget the secret."""
        self.answering.close_session(self.request.headers.get(SECRET_HEADER, ""))


class Answer(Handler):
    """Takes a verdict."""

    @told
    async def post(self) -> None:
        """Approve or reject what the page showed."""
        try:
            self.answering.demand_session(self.request.headers.get(SECRET_HEADER, ""))
        except ApprovalError as error:
            raise app.APIError(403, str(error)) from error
        given = await self.answering.answer(
            self.text("approval"),
            self.text("digest"),
            self.text("answer"),
            self.text("note", MOST_NOTE),
        )
        self.write({"approval": given.id, "answered": answered(given)})


def facts_of(approval: Approval) -> Iterator[tuple[str, str]]:
    """What is known of the call besides the list's columns, for a person."""
    for name, value in approval.summary.items():
        if name in ("agent", "run", "model", "rules", "metered") or value in (None, "", [], {}):
            continue
        label = escape(name.removesuffix("_nano_usd").removesuffix("_usd")).replace("_", " ")
        if name.endswith("_nano_usd") and isinstance(value, int):
            yield label, f"${usd(value)}"
        elif isinstance(value, bool):
            yield label, "yes" if value else "no"
        elif isinstance(value, list):
            yield label, escape(", ".join(map(str, value)))
        elif not name.endswith("_usd"):
            yield label, escape(value)


def row_of(approval: Approval, now_ns: int) -> dict[str, Any]:
    """What the list shows of a held call."""
    worst = approval.summary.get("worst_nano_usd")
    notional = "notional " if "billing" in approval.summary else ""
    return {
        "approval": approval.id,
        "agent": escape(approval.agent),
        "run": escape(approval.run),
        "rule": escape(approval.rule),
        "model": escape(approval.summary.get("model") or approval.summary.get("operation") or ""),
        "at_most": "" if worst is None else f"{notional}${usd(worst)}",
        "waiting": approval.waiting,
        "asked_seconds_ago": (now_ns - approval.created_ns) // 1_000_000_000,
        "until": clock(approval.lapses_ns),
    }


def answered(approval: Approval) -> str:
    """Who answered, from where, and what he said."""
    verdict = approval.verdict
    if verdict is None:
        return ""
    note = f": {verdict.note}" if verdict.note else ""
    return escape(f"{verdict.answer} by {verdict.by} ({verdict.origin}){note}")


def last_refusals(master: WebMaster) -> list[str]:
    """The comments of the newest refused flows that mitmweb still lists."""
    found: list[str] = []
    for flow in reversed(master.view._store.values()):
        if len(found) == MOST_REFUSALS:
            break
        known = flow.metadata.get(KEY, {}) if isinstance(flow, http.HTTPFlow) else {}
        if known.get("effect") == "refused":
            found.append(escape(flow.comment))
    return found


def open_on(application: app.Application, answering: Answering) -> None:
    """Add the cockpit's routes to mitmweb's server."""
    given = {"answering": answering}
    application.add_handlers(
        ".*",
        [
            (r"/tollkeeper/?()", PageFile, given),
            (rf"/tollkeeper/({'|'.join(FILES)})", PageFile, given),
            (r"/tollkeeper/state", State, given),
            (r"/tollkeeper/approvals/([a-z2-7]{10})", Question, given),
            (r"/tollkeeper/unlock", Unlock, given),
            (r"/tollkeeper/answer", Answer, given),
        ],
    )
