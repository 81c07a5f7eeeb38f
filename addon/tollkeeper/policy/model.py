"""The mappings of the language, as the owner writes them.

Amounts arrive here as nano-USD and durations as nanoseconds already (``values.py``). What only
several places together can get wrong is checked in ``checks.py``; what it all means to the rest of
the house is in ``compile.py``; the examples' own words are in ``given.py``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Discriminator, Field, Tag

from tollkeeper.domain import Window
from tollkeeper.policy.given import ExampleEntry
from tollkeeper.policy.matchers import CallMatch, Strict, shape
from tollkeeper.policy.values import (
    Address,
    AgentEntry,
    AtLeastOne,
    Count,
    Date,
    Duration,
    Env,
    Glob,
    Host,
    HostOrSuffix,
    Name,
    Port,
    Prefix,
    ProviderName,
    Proxy,
    Size,
    Text,
    Usd,
)

type Api = Literal["openai", "anthropic", "gemini", "cohere", "ollama", "vllm"]


class KeyEntry(Strict):
    """Where a secret, as a provider's real key, is read from at each use; exactly one of the two."""

    env: Env | None = None
    """The name of an environment variable of the proxy."""
    file: Text | None = None
    """A file of mode 0600, relative to the policy's folder."""


class PriceEntry(Strict):
    """The owner's price of a model, USD per million tokens; a part left out costs like its whole."""

    input: Usd
    output: Usd
    cache_read: Usd | None = None
    cache_write: Usd | None = None
    cache_write_1h: Usd | None = None
    reasoning: Usd | None = None
    audio_input: Usd | None = None
    audio_output: Usd | None = None
    image_input: Usd | None = None
    image_output: Usd | None = None
    web_searches: Usd | None = None
    """USD per thousand searches."""
    requests: Usd | None = None
    """USD per thousand requests."""
    audio_hours: Usd | None = None
    cache_storage: Usd | None = None
    """USD per hour of audio that is heard."""
    characters: Usd | None = None
    """USD per million characters that are spoken."""
    images: Usd | None = None
    """USD per thousand images that are made."""
    pages: Usd | None = None
    """USD per thousand pages that are read."""
    search_units: Usd | None = None
    """USD per thousand search units of a reranker."""
    cache_read_audio: Usd | None = None
    since: Date | None = None
    """The first day on which it holds, in UTC; until the next of its list begins."""


type PriceEntries = Annotated[
    Annotated[PriceEntry, Tag("map")]
    | Annotated[list[PriceEntry], Field(min_length=1, max_length=100), Tag("list")],
    Discriminator(
        shape,
        custom_error_type="expected",
        custom_error_message="expected {what}",
        custom_error_context={
            "what": "a price like {input: 1.10, output: 4.40}, or a list of dated ones"
        },
    ),
]


class ProviderEntry(Strict):
    """A provider of the owner's own, or changes to a built-in one."""

    hosts: list[Host] | None = Field(default=None, min_length=1, max_length=100)
    """Exact names; with a built-in provider they are added to its own."""
    api: Api | None = None
    """The family of dialects that it speaks."""
    prefix: Prefix | None = None
    """Where on its hosts that family stands, when not where it usually does."""
    key: KeyEntry | None = None
    """The real key, injected so that agents never see it."""
    connect_to: Address | None = None
    """Only the address changes: name, SNI and certificate check stay."""
    trust: Text | None = None
    """A PEM file with an extra trust root for this provider, relative to the policy's folder."""
    prices: dict[Glob, PriceEntries] | None = None
    """By model or glob of models; they come before the catalogue's."""
    billing: Literal["metered", "flat"] | None = None
    """``flat``: a plan pays for calls with its credential; they have a notional cost."""
    counts: bool | None = None
    """Whether a notional cost counts on budgets. Unsaid: true."""
    deployments: dict[Glob, Glob] | None = None
    """The model that a deployment (Azure) or an inference profile (Bedrock) runs, by name or glob."""
    service_tier: Text | None = None
    """What the account's settings give a call that names no tier; unsaid: the standard tier."""


class OtherHostsEntry(Strict):
    """What happens to hosts that are no provider. The named lists come before ``default``."""

    default: Literal["tunnel", "inspect", "deny"] | None = None
    """``tunnel`` is not decrypted, ``inspect`` is, ``deny`` is refused. Unsaid: tunnel."""
    inspect: list[HostOrSuffix] | None = None
    deny: list[HostOrSuffix] | None = None
    tunnel: list[HostOrSuffix] | None = None
    ports: list[Port] | None = Field(default=None, min_length=1, max_length=100)
    """Ports that may be reached. Unsaid: 443."""


class AliasEntry(Strict):
    """A name of the owner's own for a provider's model, with limits of each call to it."""

    provider: ProviderName
    model: Glob
    streaming: bool | None = None
    vision: bool | None = None
    reasoning: bool | None = None
    tools: list[Text] | None = None
    max_input_tokens: AtLeastOne | None = None
    max_output_tokens: AtLeastOne | None = None


class TierEntry(Strict):
    """Models of about one price."""

    name: Name
    models: list[Glob] = Field(min_length=1)
    """Names and globs; a dated name belongs to its base name."""


class _Windows(Strict):
    """An amount for each window that one is written for."""

    @property
    def by_window(self) -> Mapping[Window, int]:
        """The amounts that are written."""
        return {Window(name): amount for name, amount in self if amount is not None}


class OwnBudgetEntry(_Windows):
    """USD by calendar window; weeks begin on Monday."""

    total: Usd | None = None
    hour: Usd | None = None
    day: Usd | None = None
    week: Usd | None = None
    month: Usd | None = None


class OwnQuotaEntry(_Windows):
    """Calls by calendar window; weeks begin on Monday."""

    total: Count | None = None
    hour: Count | None = None
    day: Count | None = None
    week: Count | None = None
    month: Count | None = None


class BudgetEntry(OwnBudgetEntry):
    """USD by calendar window; weeks begin on Monday."""

    run: Usd | None = None


class QuotaEntry(OwnQuotaEntry):
    """Calls by calendar window; weeks begin on Monday."""

    run: Count | None = None


class LimitsEntry(Strict):
    """One set of limits; what is not named is not limited."""

    budget_usd: BudgetEntry | None = None
    """What may be spent, by window."""
    requests: QuotaEntry | None = None
    """How many calls, by window."""
    rpm: AtLeastOne | None = None
    """Never more requests than this in any rolling 60 s."""
    tpm: AtLeastOne | None = None
    """Never more tokens than this in any rolling 60 s."""
    concurrent: AtLeastOne | None = None
    """Calls under way at once."""
    models: list[Glob] | None = None
    """Names and globs of the models that may be called."""
    tools: list[Text] | None = None
    """Tools that may be offered to a model; [] is none."""
    streaming: bool | None = None
    vision: bool | None = None
    reasoning: bool | None = None
    max_input_tokens: AtLeastOne | None = None
    max_output_tokens: AtLeastOne | None = None
    """Put into a call that names none, clamped where it names more."""
    strict: bool | None = None
    """Refuse parameters and endpoints that are not known."""
    clamp: bool | None = None
    """Shrink the output limit to what the budget still holds, instead of refusing."""
    scope: Literal["full", "read-only"] | None = None
    """``read-only``: free endpoints only."""
    server_tools_usd: Usd | None = None
    """Set aside for each call that offers tools which the provider runs and bills (web search …);
    without it such calls are refused under a budget."""
    unsized_input_tokens: AtLeastOne | None = None
    """What each document, video or file counts whose size a call does not show; unsaid: the model's
    whole context window. More is an overrun."""
    on_overrun: Literal["cut", "book"] | None = None
    """A stream that outgrows what was reserved for it: ``cut`` ends it with an error, ``book`` lets it
    go on and books what it comes to. Unsaid: book."""


class KeyedLimitsEntry(LimitsEntry):
    """Limits that also say whose key is used."""

    key: Literal["injected", "own", "either"] | None = None
    """``injected``: the provider's key from this policy; ``own``: the agent's; ``either``: the
    policy's where it has one."""


class CeilingsEntry(KeyedLimitsEntry):
    """Limits of every agent, each with accounts of its own."""


class TeamEntry(LimitsEntry):
    """Limits of all agents of a team together."""


class AgentLimitsEntry(KeyedLimitsEntry):
    """Limits of one agent; ``default`` is for those that are not named."""

    team: Name | None = None
    """Its team, as named under ``teams``."""


class AllowTerms(Strict):
    """An allow has no terms."""


class DenyTerms(Strict):
    """How a denial is told."""

    message: Text | None = None
    """For the client, after the rule's name."""


class HoldTerms(Strict):
    """How a hold is kept."""

    lapses_after: Duration | None = None
    """Unanswered after this long, or approved and not fetched, it lapses. Unsaid: 1h."""
    message: Text | None = None
    """For the client, after the rule's name."""


type Deny = Annotated[
    Annotated[Text, Tag("one")] | Annotated[None, Tag("none")] | Annotated[DenyTerms, Tag("map")],
    Discriminator(
        shape,
        custom_error_type="expected",
        custom_error_message="expected {what}",
        custom_error_context={"what": "a message, {} or {message: …}"},
    ),
]
type Hold = Annotated[
    Annotated[None, Tag("none")] | Annotated[HoldTerms, Tag("map")],
    Discriminator(
        shape,
        custom_error_type="expected",
        custom_error_message="expected {what}",
        custom_error_context={"what": "{} or {lapses_after: 1h, message: …}"},
    ),
]
type Allow = Annotated[
    Annotated[None, Tag("none")] | Annotated[AllowTerms, Tag("map")],
    Discriminator(
        shape,
        custom_error_type="expected",
        custom_error_message="expected {what}",
        custom_error_context={"what": "{}"},
    ),
]


class RuleEntry(Strict):
    """A rule: which calls, and one effect. All rules that match are judged; the strictest wins."""

    name: Name
    call: CallMatch
    allow: Allow = None
    deny: Deny = None
    hold: Hold = None

    @property
    def effects(self) -> list[str]:
        """The effects that are written, in their order."""
        return [name for name in ("allow", "deny", "hold") if name in self.model_fields_set]


class UpstreamEntry(Strict):
    """How the proxy itself gets out: through another proxy, with USER:PASSWORD from elsewhere."""

    proxy: Proxy | None = None
    credentials: KeyEntry | None = None
    trust: Text | None = None
    """A PEM file with an extra trust root for all hosts, relative to the policy's folder."""


class PolicyEntry(Strict):
    """A policy: what agents may ask of model providers, what it may cost, and who is asked first."""

    version: Literal[1]
    mode: Literal["enforce", "observe"] = "enforce"
    """``observe`` decides and records, and never blocks for policy, price or budget."""
    timezone: Text = "UTC"
    """Of calendar windows, ``time`` and ``weekday``; a name of the IANA database."""
    providers: dict[ProviderName, ProviderEntry] = Field(default_factory=dict)
    other_hosts: OtherHostsEntry = OtherHostsEntry()
    models: dict[Glob, AliasEntry] = Field(default_factory=dict)
    """Aliases: names of the owner's own for providers' models."""
    tiers: list[TierEntry] = Field(default_factory=list)
    """Cheapest first."""
    teams: dict[Name, TeamEntry] = Field(default_factory=dict)
    ceilings: CeilingsEntry = CeilingsEntry()
    """For every agent; its own entry can only tighten them."""
    agents: dict[AgentEntry, AgentLimitsEntry] = Field(default_factory=dict)
    rules: list[RuleEntry] = Field(default_factory=list, max_length=10_000)
    refusals: dict[str, dict[str, Annotated[int, Field(ge=400, le=599)]]] = Field(
        default_factory=dict
    )
    """HTTP status by code and client family, instead of the built-in one."""
    durability: Literal["process", "power"] = "process"
    """What the books survive: a crash of the process, or of the machine (slower)."""
    upstream: UpstreamEntry = UpstreamEntry()
    body_limit: Size = 32 * 1024 * 1024
    """The largest request body that is read; a larger one is refused."""
    websockets: bool = False
    """``true`` opens WebSockets to providers where each call on them can be metered: OpenAI's
    Responses and Realtime. Else they get 426, on which clients fall back to HTTPS."""
    examples: list[ExampleEntry] = Field(default_factory=list, max_length=10_000)
