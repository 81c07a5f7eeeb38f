"""What may be asked of whom, and that nothing near a known path is taken for it."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tollkeeper import facts
from tollkeeper.domain import Dialect, Mount, Provider

CALLS = [
    ("openai", "POST", "/v1/chat/completions", "chat", Dialect.OPENAI_CHAT, True),
    ("openai", "POST", "/v1/responses", "responses", Dialect.OPENAI_RESPONSES, True),
    ("openai", "GET", "/v1/realtime", "websocket", Dialect.OPENAI_REALTIME, False),
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
    ("openai", "POST", "/v1/completions", "completions", Dialect.OPENAI_TEXT, True),
    ("openai", "POST", "/v1/embeddings", "embeddings", Dialect.EMBEDDINGS, True),
    ("openai", "POST", "/v1/images/generations", "images", Dialect.IMAGES, True),
    ("openai", "POST", "/v1/images/edits", "image_edit", Dialect.IMAGES, True),
    ("openai", "POST", "/v1/images/variations", "image_variation", Dialect.IMAGES, True),
    ("openai", "POST", "/v1/audio/speech", "speech", Dialect.AUDIO, True),
    ("openai", "POST", "/v1/audio/transcriptions", "transcription", Dialect.AUDIO, True),
    ("groq", "POST", "/openai/v1/audio/translations", "translation", Dialect.AUDIO, True),
    ("openai", "GET", "/v1/batches/batch_1", "objects", None, False),
    ("mistral", "POST", "/v1/fim/completions", "fim", Dialect.OPENAI_TEXT, True),
    ("mistral", "POST", "/v1/chat/moderations", "moderations", Dialect.EMBEDDINGS, True),
    ("mistral", "POST", "/v1/ocr", "ocr", Dialect.OCR, True),
    ("deepseek", "POST", "/beta/completions", "completions", Dialect.OPENAI_TEXT, True),
    ("openrouter", "GET", "/api/v1/key", "account", None, False),
    (
        "google",
        "POST",
        "/v1beta/models/gemini-embedding-001:embedContent",
        "embed",
        Dialect.GEMINI,
        True,
    ),
    (
        "google",
        "POST",
        "/v1beta/models/gemini-embedding-001:batchEmbedContents",
        "batch_embed",
        Dialect.GEMINI,
        True,
    ),
    ("together", "POST", "/v1/rerank", "rerank", Dialect.RERANK, True),
    ("cohere", "POST", "/v2/chat", "chat", Dialect.COHERE, True),
    ("cohere", "POST", "/v2/rerank", "rerank", Dialect.RERANK, True),
    ("cohere", "POST", "/v1/embed", "embed", Dialect.COHERE, True),
    ("ollama-cloud", "POST", "/api/chat", "chat", Dialect.OLLAMA, True),
    ("ollama-cloud", "POST", "/v1/embeddings", "embeddings", Dialect.EMBEDDINGS, True),
    ("cohere", "POST", "/compatibility/v1/chat/completions", "chat", Dialect.OPENAI_CHAT, True),
    ("azure", "POST", "/openai/v1/chat/completions", "chat", Dialect.OPENAI_CHAT, True),
    ("azure", "POST", "/openai/v1/responses", "responses", Dialect.OPENAI_RESPONSES, True),
    ("azure", "POST", "/openai/responses", "responses", Dialect.OPENAI_RESPONSES, True),
    ("azure", "GET", "/openai/v1/responses/resp_1", "stored", Dialect.OPENAI_RESPONSES, False),
    ("azure", "GET", "/openai/responses/resp_1", "stored", Dialect.OPENAI_RESPONSES, False),
    ("azure", "POST", "/openai/responses/r/cancel", "stored", Dialect.OPENAI_RESPONSES, False),
    ("azure", "DELETE", "/openai/v1/responses/r", "stored", Dialect.OPENAI_RESPONSES, False),
    (
        "azure",
        "POST",
        "/openai/deployments/my-gpt_4.1/chat/completions",
        "chat",
        Dialect.OPENAI_CHAT,
        True,
    ),
    ("azure", "POST", "/anthropic/v1/messages", "messages", Dialect.ANTHROPIC, True),
    ("azure", "POST", "/models/chat/completions", "chat", Dialect.OPENAI_CHAT, True),
    (
        "bedrock",
        "POST",
        "/model/us.anthropic.claude-sonnet-4-5-20250929-v1%3A0/converse",
        "converse",
        Dialect.BEDROCK_CONVERSE,
        True,
    ),
    (
        "bedrock",
        "POST",
        "/model/arn%3Aaws%3Abedrock%3Aus-east-1%3A123%3Ainference-profile%2Fus.x.y/converse-stream",
        "converse",
        Dialect.BEDROCK_CONVERSE,
        True,
    ),
    (
        "bedrock",
        "POST",
        "/model/anthropic.claude-3-haiku-20240307-v1:0/invoke",
        "invoke",
        Dialect.BEDROCK_INVOKE,
        True,
    ),
    (
        "bedrock",
        "POST",
        "/model/anthropic.claude-3-haiku-20240307-v1:0/invoke-with-response-stream",
        "invoke",
        Dialect.BEDROCK_INVOKE,
        True,
    ),
    (
        "bedrock",
        "POST",
        "/model/anthropic.claude-3-haiku-20240307-v1:0/count-tokens",
        "count_tokens",
        Dialect.BEDROCK_CONVERSE,
        False,
    ),
    (
        "vertex",
        "POST",
        "/v1/projects/p-1/locations/global/publishers/google/models/gemini-2.5-pro:generateContent",
        "generate",
        Dialect.GEMINI,
        True,
    ),
    (
        "vertex",
        "POST",
        "/v1beta1/publishers/google/models/gemini-2.5-pro:streamGenerateContent",
        "stream_generate",
        Dialect.GEMINI,
        True,
    ),
    (
        "vertex",
        "POST",
        "/v1/projects/example.com:p/locations/us-east5/publishers/anthropic/models/claude-opus-4-1@20250805:rawPredict",
        "messages",
        Dialect.ANTHROPIC,
        True,
    ),
    (
        "vertex",
        "POST",
        "/v1/projects/p/locations/us-east5/publishers/anthropic/models/count-tokens:rawPredict",
        "count_tokens",
        Dialect.ANTHROPIC,
        False,
    ),
    (
        "vertex",
        "POST",
        "/v1/projects/p/locations/us-central1/endpoints/openapi/chat/completions",
        "chat",
        Dialect.OPENAI_CHAT,
        True,
    ),
]

UNKNOWN = [
    ("openai", "POST", "/chat/completions"),
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
    ("openai", "POST", "/v1/fim/completions"),
    ("openai", "GET", "/v1/files/file-1/content"),
    ("openai", "POST", "/v1/audio"),
    ("openai", "POST", "/v1/ocr"),
    ("openai", "GET", "/v1/user/balance"),
    ("cohere", "POST", "/v3/chat"),
    ("google", "POST", "/v1beta/tunedModels/x:generateContent"),
    ("google", "POST", "/v1beta/models/gemini%2F3:generateContent"),
    ("google", "POST", "/v1beta/models/../files:generateContent"),
    ("google", "POST", "/v1beta/models/a/b:generateContent"),
    ("google", "POST", "/v1beta/models/a:generateContent:countTokens"),
    ("google", "POST", "/upload/v1beta/files"),
    ("deepseek", "POST", "/anthropic/v1/messages/count_tokens"),
    ("groq", "POST", "/v1/chat/completions"),
    ("openrouter", "POST", "/api/v1/keys"),
    ("chatgpt", "POST", "/backend-api/conversation"),
    ("chatgpt", "POST", "/backend-api/wham/tasks"),
    ("chatgpt", "POST", "/backend-api/wham/apps"),
    ("chatgpt", "POST", "/backend-api/wham/rate-limit-reset-credits/consume"),
    ("chatgpt", "POST", "/backend-api/codex/images/generations"),
    ("chatgpt", "POST", "/v1/responses"),
    ("gemini-code-assist", "POST", "/v1internal:setCodeAssistGlobalUserSetting"),
    ("gemini-code-assist", "POST", "/v1internal/models/x:generateContent"),
    ("anthropic", "PATCH", "/api/oauth/account/settings"),
    ("anthropic", "POST", "/v1/oauth/token"),
    ("azure", "POST", "/openai/deployments/a/b/chat/completions"),
    ("azure", "POST", "/openai/deployments/../chat/completions"),
    ("azure", "POST", "/openai/deployments/a%2Fb/chat/completions"),
    ("azure", "POST", "/openai/deployments/a/extensions/chat/completions"),
    ("azure", "POST", "/v1/chat/completions"),
    ("azure-ml", "POST", "/chat/completions"),
    ("bedrock", "POST", "/model/a/b/converse"),
    ("bedrock", "POST", "/model/a%252Fb/converse"),
    ("bedrock", "POST", "/model/converse"),
    ("bedrock", "POST", "/model/../converse"),
    ("bedrock", "POST", "/model/nova/invoke-with-bidirectional-stream"),
    ("bedrock", "POST", "/async-invoke"),
    ("bedrock", "POST", "/guardrail/g/version/1/apply"),
    ("bedrock-other", "POST", "/agents/A/agentAliases/B/sessions/C/text"),
    ("vertex", "POST", "/v1/projects/p/locations/us-east5/publishers/anthropic/models/x:predict"),
    ("vertex", "POST", "/v1/projects/p/locations/l/endpoints/1234:predict"),
    ("vertex", "POST", "/v1/projects/p/q/locations/l/publishers/google/models/m:generateContent"),
    ("vertex", "POST", "/v1/projects/p/locations/l/publishers/google/models/m:predict"),
    ("vertex", "POST", "/v1/models/gemini-2.5-pro:generateContent"),
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


PLANS = (
    "chatgpt",
    "code_assist",
)  # paid by the agent's own login, so that there is no key to put in
BALANCES = ("/(credits|generation)", "/user/balance")


def test_a_telemetry_path_never_gets_an_injected_key_and_inference_does() -> None:
    for api in facts.families():
        for fact in facts.endpoints(api):
            kept = fact.operation == "objects" or fact.path_re in BALANCES or api in PLANS
            assert fact.inject is (fact.operation not in ("telemetry", "settings") and not kept)


def test_every_metered_endpoint_has_a_dialect_and_is_sent_a_body() -> None:
    for api in facts.families():
        for fact in facts.endpoints(api):
            if fact.metered:
                assert fact.dialect is not None
                assert fact.method in ("POST", "PATCH")


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
        ("openai", "/v1/chat/completions", "azure", "/openai/v1/chat/completions"),
        ("azure", "/openai/deployments/a/chat/completions", "openai", "/v1/chat/completions"),
        ("azure", "/openai/responses", "openai", "/v1/responses"),
        ("anthropic", "/v1/messages", "azure", "/anthropic/v1/messages"),
        ("bedrock", "/model/amazon.nova-lite-v1:0/converse", "anthropic", None),
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


REFUSED = [
    ("openai", "/v1/batches", "batches"),
    ("openai", "/v1/fine_tuning/jobs/ft-1/cancel", "fine-tuning"),
    ("openai", "/v1/threads/thread_1/runs", "assistants"),
    ("openai", "/v1/realtime/sessions", "client secrets of realtime sessions"),
    ("openai", "/v1/realtime/client_secrets", "client secrets of realtime sessions"),
    ("openai", "/v1/realtime/calls/rtc_1/accept", "realtime calls over WebRTC and SIP"),
    ("openai", "/v1/realtime", "realtime sessions of this kind"),
    ("openai", "/v1/live/sessions", "realtime sessions of this kind"),
    ("openai", "/v1/videos", "videos"),
    ("anthropic", "/v1/messages/batches", "batches"),
    ("google", "/upload/v1beta/files", "files"),
    ("vertex", "/v1/projects/p/locations/l/cachedContents/1", "caches of your own on Vertex"),
    (
        "vertex",
        "/v1/projects/p/locations/l/publishers/google/models/veo-3:predictLongRunning",
        "Veo",
    ),
    ("google", "/v1beta/models/veo-3.0-generate-001:predictLongRunning", "Veo"),
    (
        "google",
        "/v1beta/models/virtual-try-on-001:predict",
        "predictions of other models than Imagen",
    ),
    ("cohere", "/v1/embed-jobs", "jobs and stores"),
    ("ollama-cloud", "/api/pull", "changes of the server"),
]


@pytest.mark.parametrize(("name", "path", "what"), REFUSED)
def test_what_is_named_and_refused_says_what_to_do_instead(name: str, path: str, what: str) -> None:
    provider = facts.providers()[name]

    fact = facts.refused(provider, path)

    assert facts.endpoint(provider, "POST", path) is None
    assert fact is not None
    assert fact.what == what
    assert fact.instead


def test_every_entry_has_its_source() -> None:
    for api in facts.families():
        for known in (*facts.endpoints(api), *facts.refused_endpoints(api)):
            assert known.source.startswith("https://")
            assert known.date


def test_a_servers_own_api_stands_beside_the_compatible_one() -> None:
    own = Provider(name="llama", hosts=("ollama.corp.example",), api="ollama")
    inference = Provider(name="my-vllm", hosts=("llm.corp.example",), api="vllm")

    assert facts.endpoint(own, "POST", "/api/generate") is not None
    assert facts.endpoint(own, "POST", "/v1/chat/completions") is not None
    assert facts.endpoint(inference, "POST", "/tokenize") is not None
    assert facts.endpoint(inference, "POST", "/v1/embeddings") is not None
    assert facts.endpoint(inference, "POST", "/v2/rerank") is not None
