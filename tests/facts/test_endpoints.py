"""What may be asked of whom, and that nothing near a known path is taken for it."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tollkeeper import facts
from tollkeeper.domain import Dialect, Mount, Provider

CALLS = [
    ("openai", "POST", "/v1/chat/completions", "chat", Dialect.OPENAI_CHAT, True),
    ("openai", "POST", "/v1/responses", "responses", Dialect.OPENAI_RESPONSES, True),
    (
        "openai",
        "POST",
        "/v1/responses/input_tokens",
        "count_tokens",
        Dialect.OPENAI_RESPONSES,
        False,
    ),
    ("openai", "GET", "/v1/models", "models", None, False),
    ("openai", "GET", "/v1/models/ft:gpt-4o:org::id", "models", None, False),
    ("openai", "POST", "/v1/moderations", "moderations", None, False),
    ("openai", "POST", "/v1/traces/ingest", "telemetry", None, False),
    ("openai-regional", "POST", "/v1/responses", "responses", Dialect.OPENAI_RESPONSES, True),
    ("anthropic", "POST", "/v1/messages", "messages", Dialect.ANTHROPIC, True),
    ("anthropic", "POST", "/v1/messages/count_tokens", "count_tokens", Dialect.ANTHROPIC, False),
    ("anthropic", "GET", "/v1/models/claude-opus-5-5", "models", None, False),
    ("anthropic", "POST", "/api/event_logging/v2/batch", "telemetry", None, False),
    ("anthropic", "POST", "/api/event_logging/batch", "telemetry", None, False),
    ("anthropic", "POST", "/api/eval/sdk-zAZezfDKGoZuXXKe", "telemetry", None, False),
    ("anthropic", "GET", "/api/claude_code/settings", "settings", None, False),
    ("anthropic", "GET", "/api/claude_code/policy_limits", "settings", None, False),
    ("anthropic", "GET", "/api/claude_cli/bootstrap", "settings", None, False),
    ("anthropic", "GET", "/api/hello", "settings", None, False),
    (
        "google",
        "POST",
        "/v1beta/models/gemini-3.8-flash:generateContent",
        "generate",
        Dialect.GEMINI,
        True,
    ),
    (
        "google",
        "POST",
        "/v1/models/gemini-3.8-flash:generateContent",
        "generate",
        Dialect.GEMINI,
        True,
    ),
    (
        "google",
        "POST",
        "/v1alpha/models/gemini-4-argon:streamGenerateContent",
        "stream_generate",
        Dialect.GEMINI,
        True,
    ),
    (
        "google",
        "POST",
        "/v1beta/models/gemini-3.8-flash:countTokens",
        "count_tokens",
        Dialect.GEMINI,
        False,
    ),
    ("google", "GET", "/v1beta/models", "models", None, False),
    ("google", "POST", "/v1beta/openai/chat/completions", "chat", Dialect.OPENAI_CHAT, True),
    ("groq", "POST", "/openai/v1/chat/completions", "chat", Dialect.OPENAI_CHAT, True),
    ("groq", "POST", "/openai/v1/responses", "responses", Dialect.OPENAI_RESPONSES, True),
    ("mistral", "POST", "/v1/chat/completions", "chat", Dialect.OPENAI_CHAT, True),
    ("deepseek", "POST", "/chat/completions", "chat", Dialect.OPENAI_CHAT, True),
    ("deepseek", "POST", "/v1/chat/completions", "chat", Dialect.OPENAI_CHAT, True),
    ("deepseek", "POST", "/anthropic/v1/messages", "messages", Dialect.ANTHROPIC, True),
    ("xai", "POST", "/v1/messages", "messages", Dialect.ANTHROPIC, True),
    ("openrouter", "POST", "/api/v1/chat/completions", "chat", Dialect.OPENAI_CHAT, True),
    ("openrouter", "POST", "/api/v1/messages", "messages", Dialect.ANTHROPIC, True),
    ("openrouter", "GET", "/api/v1/models/openai/gpt-4o/endpoints", "models", None, False),
    ("together", "POST", "/v1/chat/completions", "chat", Dialect.OPENAI_CHAT, True),
    ("fireworks", "POST", "/inference/v1/chat/completions", "chat", Dialect.OPENAI_CHAT, True),
    ("zai", "POST", "/api/coding/paas/v4/chat/completions", "chat", Dialect.OPENAI_CHAT, True),
    ("cohere", "POST", "/compatibility/v1/chat/completions", "chat", Dialect.OPENAI_CHAT, True),
]

UNKNOWN = [
    ("openai", "POST", "/chat/completions"),
    ("openai", "POST", "/v1/embeddings"),
    ("openai", "POST", "/v1/images/generations"),
    ("openai", "POST", "/v1/files"),
    ("openai", "POST", "/v1/batches"),
    ("openai", "GET", "/v1/responses/resp_123/compact"),
    ("openai", "DELETE", "/v1/responses/resp_123/input_items"),
    ("openai", "DELETE", "/v1/models/ft:gpt-4o:org::id"),
    ("openai", "GET", "/v1/organization/costs"),
    ("openai", "OPTIONS", "/v1/chat/completions"),
    ("openai", "HEAD", "/v1/models"),
    ("openai", "post", "/v1/chat/completions"),
    ("openai", "GET", "/v1/chat/completions"),
    ("openai", "POST", "/api/event_logging/batch"),
    ("anthropic", "POST", "/v1/complete"),
    ("anthropic", "POST", "/v1/messages/batches"),
    ("anthropic", "POST", "/api/oauth/claude_cli/create_api_key"),
    ("anthropic", "POST", "/api/claude_code/settings"),
    ("google", "POST", "/v1beta/models/gemini-3.8-flash:embedContent"),
    ("google", "POST", "/v1beta/tunedModels/x:generateContent"),
    ("google", "POST", "/v1beta/models/gemini%2F3:generateContent"),
    ("google", "POST", "/v1beta/models/../files:generateContent"),
    ("google", "POST", "/v1beta/models/a/b:generateContent"),
    ("google", "POST", "/v1beta/models/a:generateContent:countTokens"),
    ("google", "POST", "/upload/v1beta/files"),
    ("mistral", "POST", "/v1/moderations"),
    ("mistral", "POST", "/v1/fim/completions"),
    ("deepseek", "POST", "/anthropic/v1/messages/count_tokens"),
    ("groq", "POST", "/v1/chat/completions"),
    ("openrouter", "POST", "/api/v1/keys"),
    ("chatgpt", "POST", "/backend-api/codex/responses"),
    ("azure", "POST", "/openai/v1/chat/completions"),
]


@pytest.mark.parametrize(("name", "method", "path", "operation", "dialect", "metered"), CALLS)
def test_a_known_endpoint_is_recognised(
    name: str, method: str, path: str, operation: str, dialect: Dialect | None, metered: bool
) -> None:
    fact = facts.endpoint(facts.providers()[name], method, path)

    assert fact is not None
    assert (fact.operation, fact.dialect, fact.metered) == (operation, dialect, metered)


@pytest.mark.parametrize(("name", "method", "path"), UNKNOWN)
def test_what_no_table_names_is_unknown(name: str, method: str, path: str) -> None:
    assert facts.endpoint(facts.providers()[name], method, path) is None


@pytest.mark.parametrize(("name", "method", "path"), [call[:3] for call in CALLS])
def test_a_path_with_anything_more_or_otherwise_written_is_unknown(
    name: str, method: str, path: str
) -> None:
    provider = facts.providers()[name]
    head, _, tail = path.rpartition("/")

    for bent in [
        f"{path}/", f"{path};x", f"{path}?x", f"{path}#x", f"{path}%20", f"{path}\n", f"{path}\x00",
        f"{path}/..", f"{path}/.", f"/{path}", f"{head}//{tail}", f"{head}/./{tail}",
        f"{head}/x/../{tail}", f"{head}%2F{tail}", f"{head}%2f{tail}", f"{head}\\{tail}",
        f"/.{path}", f"/x/..{path}", path.upper(), f"{path} ", f" {path}", path[1:], f"http://h{path}",
    ]:  # fmt: skip
        fact = facts.endpoint(provider, method, bent)
        assert fact is None, bent


def test_a_telemetry_path_never_gets_an_injected_key_and_inference_does() -> None:
    for api in ("openai", "anthropic", "gemini"):
        for fact in facts.endpoints(api):
            assert fact.inject is (fact.operation not in ("telemetry", "settings"))


def test_every_metered_endpoint_has_a_dialect_and_is_a_post() -> None:
    for api in ("openai", "anthropic", "gemini"):
        for fact in facts.endpoints(api):
            if fact.metered:
                assert fact.dialect is not None
                assert fact.method == "POST"


def test_a_family_that_we_do_not_read_has_no_endpoints() -> None:
    assert facts.endpoints("none") == ()


def test_an_owners_provider_stands_where_its_family_usually_does() -> None:
    own = Provider(name="my-vllm", hosts=("llm.corp.example",), api="openai")

    assert facts.endpoint(own, "POST", "/v1/chat/completions") is not None
    assert facts.endpoint(own, "POST", "/v1/moderations") is None
    mount = facts.mount_of(own, "POST", "/v1/chat/completions")
    assert mount == Mount(api="openai", prefix="/v1", auth="bearer")


@pytest.mark.parametrize(
    ("source", "path", "target", "moved"),
    [
        ("openai", "/v1/chat/completions", "groq", "/openai/v1/chat/completions"),
        ("openai", "/v1/responses", "openrouter", "/api/v1/responses"),
        ("groq", "/openai/v1/chat/completions", "deepseek", "/v1/chat/completions"),
        ("deepseek", "/chat/completions", "fireworks", "/inference/v1/chat/completions"),
        ("openai", "/v1/chat/completions", "google", "/v1beta/openai/chat/completions"),
        ("anthropic", "/v1/messages", "deepseek", "/anthropic/v1/messages"),
        ("anthropic", "/v1/messages", "xai", "/v1/messages"),
        ("anthropic", "/v1/messages", "openai", None),
        ("anthropic", "/v1/messages/count_tokens", "deepseek", None),
        ("openai", "/v1/chat/completions", "anthropic", None),
        ("openai", "/v1/chat/completions", "azure", None),
        ("openai", "/v1/moderations", "openai-regional", None),
        ("openai", "/v1/files", "groq", None),
    ],
)
def test_an_alias_moves_to_the_same_endpoint_elsewhere(
    source: str, path: str, target: str, moved: str | None
) -> None:
    providers = facts.providers()

    assert facts.reroute(providers[source], "POST", path, providers[target]) == moved


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(sorted(facts.providers())), st.text(max_size=60))
def test_no_path_whatsoever_makes_recognition_fail(name: str, path: str) -> None:
    fact = facts.endpoint(facts.providers()[name], "POST", path)

    assert fact is None or path.startswith("/")


def test_a_path_longer_than_any_known_one_is_not_looked_at() -> None:
    path = "/v1beta/models/" + "a" * 2000 + ":generateContent"

    assert facts.endpoint(facts.providers()["google"], "POST", path) is None
