"""The nouns that cross walls. All frozen; no behaviour beyond what their own fields say.

Units end the name: ``…_nano_usd`` are integers (1 USD = 10**9), ``…_tokens`` and ``…_bytes`` are
counts, ``…_ns`` are nanoseconds (since the Unix epoch when a point in time). Unknown is ``None``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from typing import Any

NANO_PER_USD = 1_000_000_000
NS_PER_SECOND = 1_000_000_000


class Effect(IntEnum):
    """What happens to a leg; of several, the strictest (the largest) wins."""

    ALLOW = 0
    CHANGE = 1
    HOLD = 2
    DENY = 3


class Mode(StrEnum):
    """Whether the policy blocks (``enforce``) or only records what it would do (``observe``)."""

    ENFORCE = "enforce"
    OBSERVE = "observe"


class Code(StrEnum):
    """The cause of a refusal, as clients see it in the provider's error shape."""

    UNKNOWN_AGENT = "unknown_agent"
    AGENT_PAUSED = "agent_paused"
    POLICY_DENIED = "policy_denied"
    BUDGET_EXHAUSTED = "budget_exhausted"
    RATE_LIMITED = "rate_limited"
    APPROVAL_REJECTED = "approval_rejected"
    APPROVAL_PENDING = "approval_pending"
    APPROVAL_LAPSED = "approval_lapsed"
    UNREADABLE_REQUEST = "unreadable_request"
    UNKNOWN_ENDPOINT = "unknown_endpoint"
    POLICY_UNAVAILABLE = "policy_unavailable"


class Dialect(StrEnum):
    """A provider's wire format; one module of ``wire`` each."""

    OPENAI_CHAT = "openai_chat"
    OPENAI_RESPONSES = "openai_responses"
    OPENAI_REALTIME = "openai_realtime"
    ANTHROPIC = "anthropic"
    GEMINI = "gemini"
    CODE_ASSIST = "code_assist"
    OPENAI_TEXT = "openai_text"  # text completions and fill-in-the-middle
    EMBEDDINGS = "embeddings"
    IMAGES = "images"
    AUDIO = "audio"
    RERANK = "rerank"
    OCR = "ocr"
    COHERE = "cohere"
    OLLAMA = "ollama"
    BEDROCK_CONVERSE = "bedrock_converse"
    BEDROCK_INVOKE = "bedrock_invoke"  # with a body of Claude's
    BEDROCK_NATIVE = "bedrock_native"  # with one of another maker's


class Billing(StrEnum):
    """Who pays for a call: money by what is used, or a plan at a flat rate.

    What a plan pays has a notional cost: the list price of the same call to the metered API.
    """

    METERED = "metered"
    FLAT_COUNTED = "flat_counted"  # a plan pays, and the notional cost counts on budgets
    FLAT = "flat"  # a plan pays, and the notional cost counts on none


class Window(StrEnum):
    """What a budget or quota counts over; calendar windows in the policy's timezone."""

    TOTAL = "total"
    HOUR = "hour"
    DAY = "day"
    WEEK = "week"
    MONTH = "month"
    RUN = "run"


class Basis(StrEnum):
    """How a settled cost is known."""

    MEASURED = "measured"  # from the provider's own usage
    ESTIMATED = "estimated"  # counted from what was seen of a cut answer
    RESERVED = "reserved"  # the whole reservation, because nothing better is known


class Outcome(StrEnum):
    """Why a settled call ended."""

    COMPLETE = "complete"
    PROVIDER_ERROR = "provider_error"  # the provider answered 4xx or 5xx and bills nothing
    CUT = "cut"  # the answer broke off after the call had left
    NOT_SENT = "not_sent"  # no byte reached the provider
    RECOVERED = "recovered"  # the proxy died; booked at recovery


# --------------------------------------------------------------------------------------- who


@dataclass(frozen=True, slots=True)
class Principal:
    """Who calls, as a token proved it.

    Attributes:
        agent: Its name.
        token_id: The token used; the ledger asks again at each admission whether it still holds.
        run: The run that groups this call: the token's own, else the label's, else agent and day.
        run_is_minted: True when the token is bound to the run, so that its limits count.
        label: What the agent called itself after ``~``; only groups.
    """

    agent: str
    token_id: str
    run: str
    run_is_minted: bool = False
    label: str | None = None


# --------------------------------------------------------------------------------------- call


@dataclass(frozen=True, slots=True)
class Turn:
    """One message of a conversation, for the input bound.

    Attributes:
        digest: Chained over the head and every message up to and including this one (hex).
        bound_tokens: More than this message alone can be billed.
    """

    digest: str
    bound_tokens: int


@dataclass(frozen=True, slots=True)
class Kept:
    """A cache that a provider keeps for whoever made it, as its provider described it.

    Attributes:
        id: As a call names it.
        until_ns: When it ends, and until when its keeping is booked.
    """

    id: str
    model: str
    tokens: int
    until_ns: int


@dataclass(frozen=True, slots=True)
class Call:
    """A model call, parsed from its request. Nothing in it is trusted to be true, only to be said.

    Attributes:
        operation: The endpoint's name in ``facts/hosts.yaml`` (``chat``, ``messages``, ``models`` …).
        metered: False for endpoints that a sourced table knows to be free.
        model: As the client names it; None where the endpoint has none.
        head_bound_tokens: More than the provider can bill for everything but ``turns``
            (system prompt, tools, hidden prompts, images anywhere).
        turns: The conversation in order; empty when the dialect has none.
        opaque_input: What of the input is not in the bytes (``previous_response_id`` …), or None.
            The input bound is then the model's context window.
        unsized_parts: How many documents, videos and files of unknown size there are, where
            nothing else makes the input opaque.
        stored: The first member that names an object which the provider keeps (a file, a response),
            or None.
        stored_ids: The ids of all of them; an empty one stands for what cannot be read.
        max_output_tokens: The limit that the call names for one choice, or None.
        choices: ``n`` or ``candidateCount``; each may be billed a whole output.
        extra_output_tokens: What may be billed as output beyond the limit (rejected predictions).
        features: What changes a price or needs leave: ``vision``, ``audio_in``, ``audio_out``,
            ``image_out``, ``cache_write_5m``, ``cache_write_1h``, ``reasoning``, ``background``,
            ``inference_geo``, ``web_search_preview``, ``memory_…`` (of a code interpreter),
            ``credits`` (may be paid with credits bought on top of a plan); and what the request
            cannot bear: ``no_output_limit``, ``no_usage_event``, ``fixed_model``.
        tools_offered: Names of the client's own tools, in order.
        server_tools: Tools that the provider runs and bills itself (``web_search`` …).
        unknown_parameters: Top-level keys that the dialect does not know (``strict``).
        prompt: The text a rule may match, at most 64 KiB of it.
        approval_digest: Canonical request minus what a resend changes; binds an approval (hex).
        by_plan: Whether its credential is one of a plan, and nothing else in it pays.
        most: The most that may be billed by other measures than tokens (characters, images, seconds
            of audio …), where a provider may bill the operation so.
        tokens_unbounded: What cannot be bounded in tokens, so that only a price by another measure
            keeps a budget; None where the bounds above hold.
        deployment: What the client named where ``model`` is only what the policy or the cloud says
            it runs: an Azure deployment, a Bedrock inference profile. None elsewhere.
        cache: The provider's cache that it names to be read or kept longer, or None.
        kept: What the ledger knows of that cache, or None.
        signed: True when the request carries a signature over its body and path (AWS), so that
            nothing of it can be changed without the key that signed it.
        foreign_host: The host that it is sent to, where the policy's key may not go there.
    """

    provider: str
    dialect: Dialect
    operation: str
    metered: bool
    model: str | None = None
    stream: bool = False
    head_bound_tokens: int = 0
    turns: tuple[Turn, ...] = ()
    opaque_input: str | None = None
    unsized_parts: int = 0
    stored: str | None = None
    stored_ids: tuple[str, ...] = ()
    max_output_tokens: int | None = None
    choices: int = 1
    extra_output_tokens: int = 0
    features: frozenset[str] = frozenset()
    service_tier: str | None = None
    tools_offered: tuple[str, ...] = ()
    server_tools: tuple[str, ...] = ()
    unknown_parameters: tuple[str, ...] = ()
    prompt: str = ""
    approval_digest: str = ""
    by_plan: bool = False
    most: Usage | None = None
    tokens_unbounded: str | None = None
    deployment: str | None = None
    signed: bool = False
    foreign_host: str | None = None
    cache: str | None = None
    kept: Kept | None = None


@dataclass(frozen=True, slots=True)
class Usage:
    """Token counts of one answer, inclusive: a part is always contained in its whole.

    ``input_tokens`` contains cache reads and writes; ``output_tokens`` contains reasoning. Named
    after OpenTelemetry ``gen_ai.usage.*``.

    Attributes:
        unknown: Usage keys that the dialect does not know: a reason to look, never dropped.
        service_tier: The tier that the provider says it used; ``fast`` and ``standard_speed`` where
            it names a speed.
        cache_read_audio_input_tokens: What of the cache reads is audio.
        server_tools: Uses of tools that the provider runs and bills each time, by name.
        inference_geo: Where the provider says it ran, where that has a price.
        audio_milliseconds: Of input, where a provider bills by the hour of it.
        characters: Of input, where a provider bills by them.
        images: Made.
        pages: Read.
        search_units: Of a reranker: a query with up to a hundred documents.
        provider_cost_nano_usd: What the provider itself says that this answer costs.
        kept_token_seconds: Tokens that the provider keeps, times the seconds for which it does.
    """

    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_input_tokens: int = 0
    cache_write_input_tokens: int = 0
    cache_write_1h_input_tokens: int = 0
    reasoning_output_tokens: int = 0
    audio_input_tokens: int = 0
    audio_output_tokens: int = 0
    image_input_tokens: int = 0
    image_output_tokens: int = 0
    web_searches: int = 0
    model: str | None = None
    service_tier: str | None = None
    unknown: tuple[str, ...] = ()
    audio_milliseconds: int = 0
    characters: int = 0
    images: int = 0
    pages: int = 0
    search_units: int = 0
    provider_cost_nano_usd: int | None = None
    cache_read_audio_input_tokens: int = 0
    server_tools: tuple[tuple[str, int], ...] = ()
    inference_geo: str | None = None
    kept_token_seconds: int = 0


# ------------------------------------------------------------------------------------- limits


@dataclass(frozen=True, slots=True)
class Limits:
    """One set of limits. ``None`` and missing windows do not limit.

    Attributes:
        models: Globs of the models that may be called.
        tools: Names of the tools that may be offered; ``()`` forbids all.
        key: ``injected``, ``own`` or ``either``.
        scope: ``full`` or ``read-only`` (free endpoints only).
        clamp: True lets the output limit shrink to what the budget still holds.
        unsized_input_tokens: What a document, video or file of unknown size counts, instead of the
            whole context window.
        server_tools_nano_usd: Reserved on top of a call that offers server-side tools; None refuses
            them under a budget.
        on_overrun: ``cut`` ends a stream that outgrows its reservation; ``book``, which is also
            meant by None, lets it go on and books what it comes to.
    """

    budget_nano_usd: Mapping[Window, int] = field(default_factory=dict)
    requests: Mapping[Window, int] = field(default_factory=dict)
    rpm: int | None = None
    tpm: int | None = None
    concurrent: int | None = None
    models: tuple[str, ...] | None = None
    tools: tuple[str, ...] | None = None
    streaming: bool | None = None
    vision: bool | None = None
    reasoning: bool | None = None
    max_input_tokens: int | None = None
    max_output_tokens: int | None = None
    strict: bool | None = None
    clamp: bool | None = None
    key: str | None = None
    scope: str | None = None
    server_tools_nano_usd: int | None = None
    unsized_input_tokens: int | None = None
    on_overrun: str | None = None


@dataclass(frozen=True, slots=True)
class Layer:
    """Limits with where they were written and on whom they count.

    Several layers stand over one call; every one of them must be satisfied, so the stricter wins
    without ever being computed.

    Attributes:
        source: As people find it again: ``agents.atlas``, ``teams.research``, ``ceilings``, ``token``.
        subject: ``agent:atlas``, ``team:research`` or ``run:7f3k``: whose accounts and rates.
    """

    source: str
    subject: str
    limits: Limits


@dataclass(frozen=True, slots=True)
class Account:
    """What a budget or quota counts on.

    Attributes:
        subject: As in ``Layer``.
        window: The kind of window.
        starts_ns: Start of the window; 0 for ``total`` and ``run``.
        resets_ns: End of the window, None for ``total`` and ``run``.
    """

    subject: str
    window: Window
    starts_ns: int = 0
    resets_ns: int | None = None

    def __hash__(self) -> int:
        return hash((self.subject, self.starts_ns))  # without the window: enums hash slowly


@dataclass(frozen=True, slots=True)
class Balance:
    """What stands on an account. Limits are the policy's, so they are not here.

    Attributes:
        credit_nano_usd: Added to the limit by ``budget add``.
    """

    spent_nano_usd: int = 0
    reserved_nano_usd: int = 0
    calls: int = 0
    credit_nano_usd: int = 0


# ----------------------------------------------------------------------------------- decision


@dataclass(frozen=True, slots=True)
class Reason:
    """One coded cause, naming what made it.

    Attributes:
        source: Where in the policy: ``rules.dear-calls``, ``agents.atlas.models``, ``ledger``.
        message: For the client: which rule and limit, and what to do. Never other agents or paths.
        account: The account that did not hold the call (budget, quota), for headers and tables.
        left_nano_usd: What that account still held.
        retry_after_ns: Enough and minimal, for rates.
        observed: True when observe mode let it pass.
    """

    effect: Effect
    code: Code
    source: str
    message: str
    account: Account | None = None
    left_nano_usd: int | None = None
    retry_after_ns: int | None = None
    observed: bool = False


@dataclass(frozen=True, slots=True)
class Changes:
    """What the forwarded request differs in; empty means byte for byte.

    Attributes:
        max_output_tokens: Put in or clamped to.
        model: The provider's name of an alias.
        provider: Where an alias lives, when not where the call was going.
    """

    max_output_tokens: int | None = None
    model: str | None = None
    provider: str | None = None

    def __bool__(self) -> bool:
        return any(v is not None for v in (self.max_output_tokens, self.model, self.provider))


@dataclass(frozen=True, slots=True)
class HoldTerms:
    """How a rule wants its holds kept."""

    lapses_after_ns: int
    rule: str


@dataclass(frozen=True, slots=True)
class Decision:
    """What was decided, with every reason that had a part in it.

    Attributes:
        effect: ALLOW, HOLD or DENY; a CHANGE is an ALLOW whose ``changes`` are not empty.
        reasons: Strictest first; the first is what the client is told.
        subjects: On whom the call counts (agent, its team and ancestors, run).
        rated: Those of the subjects that some layer limits by rpm or tpm: only their admissions are
            kept, so that a rate newly written sees the minute before it only where one stood. None
            for all.
        reserve_nano_usd: The worst case, pending on every subject from now on.
        bound_tokens: Input and output bound together, for tpm.
        worst_output_tokens: The output bound that was reserved.
        expected_nano_usd: Predicted from history; None without a price.
        hold: Terms of the hold when the effect is HOLD.
        consumes: The approval that this admission uses up.
        left_nano_usd: The least that any limited account holds after this reservation.
        key: Whose provider key goes along: ``injected``, ``own`` or ``either``.
        billing: Who pays, as far as the request shows it.
        worst_nano_usd: The worst case, reserved or not; None without a price.
        cuts: The limit by which a stream that outgrows its reservation is cut, as a client may be
            told of it; None to let it go on.
    """

    effect: Effect
    reasons: tuple[Reason, ...] = ()
    changes: Changes = Changes()
    subjects: tuple[str, ...] = ()
    reserve_nano_usd: int = 0
    bound_input_tokens: int = 0
    bound_output_tokens: int = 0
    expected_nano_usd: int | None = None
    price_source: str | None = None
    hold: HoldTerms | None = None
    consumes: str | None = None
    left_nano_usd: int | None = None
    rated: tuple[str, ...] | None = None
    key: str = "either"
    billing: Billing = Billing.METERED
    worst_nano_usd: int | None = None
    cuts: str | None = None


# -------------------------------------------------------------------------------------- policy


@dataclass(frozen=True, slots=True)
class KeySource:
    """Where a provider's real key is read from, at each use: an environment name or a 0600 file."""

    env: str | None = None
    file: str | None = None


@dataclass(frozen=True, slots=True)
class Mount:
    """Where on a provider's hosts one family of dialects stands.

    Attributes:
        api: A family of ``facts/endpoints.yaml``: ``openai``, ``anthropic``, ``gemini``, ``cohere`` …
        prefix: Path before the family's own, with no slash at its end: ``/v1``, ``/openai/v1``. A
            ``{name}`` stands for one segment: ``/openai/deployments/{deployment}``.
        auth: How it takes a key: ``bearer``, ``x-api-key``, ``x-goog-api-key`` or ``api-key``.
    """

    api: str
    prefix: str
    auth: str


@dataclass(frozen=True, slots=True)
class Price:
    """A price of the owner's for one model.

    Attributes:
        rates: USD per million tokens as nano-USD per million, by ``core.pricing.PRICE_KEYS``.
        from_ns: In force from here on; 0 for ever.
    """

    rates: Mapping[str, int]
    from_ns: int = 0


type Prices = tuple[Price, ...]
"""What one model costs, by date; the youngest that has begun is in force."""


@dataclass(frozen=True, slots=True)
class Provider:
    """A governed provider: built in (``facts/hosts.yaml``), changed or added by the policy.

    Attributes:
        hosts: Exact lower-case names.
        host_patterns: Anchored RE2 patterns for regional names.
        api: The family of dialects it speaks: ``openai``, ``anthropic``, ``gemini``; ``none`` when
            it is governed but speaks none that we read, so that every call to it is refused.
        catalogue: Its id in genai-prices, or None.
        connect_to: ``(address, port)`` to dial instead; name, SNI and certificate check stay.
        trust: A PEM file with an extra trust root for this provider.
        prices: The owner's own, by model glob.
        default_tier: The service tier that the account's settings give a call that names none.
        mounts: Where its dialects stand, first match wins; empty means where ``api`` usually does.
        billing: ``flat`` when calls with a plan's credential (``facts/plans.yaml``) are paid by it.
        counts: Whether their notional cost counts on budgets all the same.
        deployments: The model that a deployment or inference profile runs, by name or glob.
        anyones_hosts: Whether anybody can have a host of its patterns, so that ``key`` goes to
            ``hosts`` alone.
    """

    name: str
    hosts: tuple[str, ...]
    api: str
    host_patterns: tuple[str, ...] = ()
    catalogue: str | None = None
    key: KeySource | None = None
    connect_to: tuple[str, int] | None = None
    trust: str | None = None
    prices: Mapping[str, Prices] = field(default_factory=dict)
    mounts: tuple[Mount, ...] = ()
    billing: str = "metered"
    counts: bool = True
    deployments: Mapping[str, str] = field(default_factory=dict)
    default_tier: str | None = None
    anyones_hosts: bool = False


@dataclass(frozen=True, slots=True)
class ModelAlias:
    """A name of the owner's own for a provider's model."""

    name: str
    provider: str
    model: str
    limits: Limits = Limits()


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule of the policy, compiled.

    Attributes:
        matches: Pure and linear-time over ``facts`` (by name, see ``core/call_facts.py``).
        fields: The names of the facts that it reads.
    """

    name: str
    effect: Effect
    matches: Callable[[Mapping[str, Any]], bool]
    fields: frozenset[str] = frozenset()
    message: str | None = None
    lapses_after_ns: int = 3600 * NS_PER_SECOND


@dataclass(frozen=True, slots=True)
class OtherHosts:
    """What happens to hosts that are no provider: ``tunnel``, ``inspect`` or ``deny``."""

    default: str = "tunnel"
    inspect: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()
    tunnel: tuple[str, ...] = ()
    ports: tuple[int, ...] = (443,)


@dataclass(frozen=True, slots=True)
class Policy:
    """The owner's policy, loaded, checked and compiled.

    Attributes:
        digest: SHA-256 of the source text, for the record.
        aliases: By their names in small letters.
        agents: Limits by agent name; ``default`` for the agents not named.
        teams: Limits by team name.
        members: Team by agent name.
        tiers: Tier name to model globs, cheapest first.
        refusals: Overrides of the status by code, then client family (``facts/clients.yaml``).
        websockets: Whether WebSockets to providers are opened, where their frames can be metered.
    """

    digest: str
    mode: Mode
    timezone: str
    providers: Mapping[str, Provider]
    other_hosts: OtherHosts = OtherHosts()
    aliases: Mapping[str, ModelAlias] = field(default_factory=dict)
    tiers: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    teams: Mapping[str, Limits] = field(default_factory=dict)
    ceilings: Limits = Limits()
    agents: Mapping[str, Limits] = field(default_factory=dict)
    members: Mapping[str, str] = field(default_factory=dict)
    rules: tuple[Rule, ...] = ()
    refusals: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    durability: str = "process"
    upstream_proxy: str | None = None
    upstream_credentials: KeySource | None = None
    upstream_trust: str | None = None
    body_limit_bytes: int = 32 * 1024 * 1024
    websockets: bool = False


# -------------------------------------------------------------------------------------- ledger


@dataclass(frozen=True, slots=True)
class Verdict:
    """A person's answer: ``approved`` or ``rejected``, sealed with the operator's key.

    Attributes:
        origin: Where it was given: ``cli`` or ``mitmweb``.
    """

    approval: str
    answer: str
    by: str
    note: str
    at_ns: int
    seal: str
    origin: str = "cli"


@dataclass(frozen=True, slots=True)
class Approval:
    """The question put to a person, and where it stands.

    Attributes:
        id: Short and random, so that a prefix of it is quickly unique.
        digest: What it is bound to: agent lineage and the call's ``approval_digest``.
        state: ``open``, ``approved``, ``rejected``, ``lapsed`` or ``used``.
        waiting: How many clients wait right now; 0 shows as ``abandoned``.
        lapses_ns: When it lapses: unanswered, or approved and not fetched.
    """

    id: str
    digest: str
    agent: str
    run: str
    rule: str
    state: str
    summary: Mapping[str, Any]
    created_ns: int
    lapses_ns: int
    waiting: int = 0
    verdict: Verdict | None = None


@dataclass(frozen=True, slots=True)
class Admission:
    """What was decided, as it stands in the ledger, and what remains to be settled.

    Attributes:
        id: The call's id, in ``x-tollkeeper-id``.
        approval: The approval it waits on, uses up or was refused by.
    """

    id: str
    decision: Decision
    approval: Approval | None = None

    @property
    def effect(self) -> Effect:
        """The decision's."""
        return self.decision.effect


@dataclass(frozen=True, slots=True)
class Settlement:
    """What a call came to.

    Attributes:
        cost_nano_usd: What is booked; None when no price is known (observe mode, free hosts).
        notional_nano_usd: The list price of what a plan pays; None when it is not known.
        billing: Who pays, by the answer; None when nothing more is known than at its admission.
    """

    outcome: Outcome
    basis: Basis
    cost_nano_usd: int | None
    usage: Usage = Usage()
    status: int | None = None
    note: str = ""
    notional_nano_usd: int | None = None
    billing: Billing | None = None
