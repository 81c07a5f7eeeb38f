"""Random calls at the clouds, and on subscriptions: the same dialects on other paths and in envelopes."""

from __future__ import annotations

from urllib.parse import quote

from e2e.random_kinds import TOOL, Asked, Body, Kind, chat, contents, messages, responses

AZURE = "corp.openai.azure.com"
BEDROCK = "bedrock-runtime.us-east-1.amazonaws.com"
VERTEX = "aiplatform.googleapis.com"
PUBLISHERS = "/v1/projects/p-1/locations/global/publishers"


def deployment_path(asked: Asked) -> str:
    """A deployment that has its model's name."""
    return f"/openai/deployments/{asked.model}/chat/completions?api-version=2024-10-21"


def deployed(asked: Asked) -> Body:
    """Azure: the model stands in the path."""
    body = chat(asked)
    del body["model"]
    return body


def conversation(asked: Asked) -> Body:
    """Bedrock Converse."""
    content: list[Body] = [{"text": asked.text}]
    if asked.cached:
        content.append({"cachePoint": {"type": "default", "ttl": asked.cached}})
    body: Body = {
        "system": [{"text": "Be brief."}],
        "messages": [{"role": "user", "content": content}],
        "inferenceConfig": {"maxTokens": asked.limit},
    }
    if asked.tool:
        body["toolConfig"] = {
            "tools": [{"toolSpec": {"name": "read", "inputSchema": {"json": TOOL}}}]
        }
    return body


def converse_path(asked: Asked) -> str:
    """The way to stream is another verb."""
    verb = "converse-stream" if asked.stream else "converse"
    return f"/model/{quote(asked.model, safe='')}/{verb}"


def invocation(asked: Asked) -> Body:
    """Bedrock InvokeModel of Claude."""
    body = messages(asked) | {"anthropic_version": "bedrock-2023-05-31"}
    del body["model"], body["stream"]
    return body


def native(asked: Asked) -> Body:
    """Bedrock InvokeModel of other makers, each in its own members."""
    match asked.model.rpartition(".")[0].rpartition(".")[2]:
        case "amazon":
            return {"inputText": asked.text, "textGenerationConfig": {"maxTokenCount": asked.limit}}
        case "meta":
            return {"prompt": asked.text, "max_gen_len": asked.limit}
        case "mistral":
            return {"prompt": asked.text, "max_tokens": asked.limit}
    turn = [{"role": "user", "content": asked.text}]
    return {"messages": turn, "max_completion_tokens": asked.limit}


def invoke_path(asked: Asked) -> str:
    """The way to stream is another verb."""
    verb = "invoke-with-response-stream" if asked.stream else "invoke"
    return f"/model/{quote(asked.model, safe='')}/{verb}"


def prediction(asked: Asked) -> Body:
    """Claude on Vertex."""
    body = messages(asked) | {"anthropic_version": "vertex-2023-10-16"}
    del body["model"]
    return body


def regional_path(asked: Asked) -> str:
    """Claude in a region, which costs more than the global endpoint."""
    return prediction_path(asked).replace("/global/", "/us-east5/")


def prediction_path(asked: Asked) -> str:
    """The way to stream is another verb."""
    verb = "streamRawPredict" if asked.stream else "rawPredict"
    return f"{PUBLISHERS}/anthropic/models/{asked.model}:{verb}"


def vertex_path(asked: Asked) -> str:
    """Gemini on Vertex."""
    verb = "streamGenerateContent?alt=sse" if asked.stream else "generateContent"
    return f"{PUBLISHERS}/google/models/{asked.model}:{verb}"


def enveloped(asked: Asked) -> Body:
    """Code Assist: Gemini's body with the model beside it."""
    return {"model": asked.model, "project": "p-1", "request": contents(asked)}


def assist_path(asked: Asked) -> str:
    """The way to stream is another verb."""
    verb = "streamGenerateContent?alt=sse" if asked.stream else "generateContent"
    return f"/v1internal:{verb}"


def codex(asked: Asked) -> Body:
    """A call of Codex on a ChatGPT plan: always streamed, never limited."""
    body = responses(asked) | {"instructions": "Be brief.", "store": False, "stream": True}
    del body["max_output_tokens"]
    return body


KINDS: tuple[Kind, ...] = (
    Kind(
        "azure", AZURE, ("gpt-4o-mini", "gpt-4.1"), deployment_path, deployed, most_choices=4,
        pictures=True, provider="azure",
    ),
    Kind(
        "azure responses", AZURE, ("gpt-5-mini", "gpt-4.1"), lambda _: "/openai/v1/responses",
        responses, provider="azure",
    ),
    Kind(
        "converse", BEDROCK,
        (
            "amazon.nova-lite-v1:0",
            "us.anthropic.claude-haiku-4-5-20251001-v1:0",
            "global.anthropic.claude-sonnet-4-5-20250929-v1:0",
        ),
        converse_path, conversation, cache_marks=True, provider="bedrock",
    ),
    Kind(
        "invoke", BEDROCK,
        (
            "us.anthropic.claude-haiku-4-5-20251001-v1:0",
            "global.anthropic.claude-sonnet-4-5-20250929-v1:0",
        ),
        invoke_path, invocation, cache_marks=True, pictures=True, may_think=True,
        provider="bedrock",
    ),
    Kind(
        "native", BEDROCK,
        (
            "amazon.titan-text-express-v1",
            "meta.llama3-8b-instruct-v1:0",
            "mistral.mistral-7b-instruct-v0:2",
            "openai.gpt-oss-20b-1:0",
        ),
        invoke_path, native, provider="bedrock",
    ),
    Kind(
        "vertex", VERTEX, ("gemini-2.5-flash", "gemini-2.5-pro"), vertex_path, contents,
        most_choices=3, pictures=True, provider="vertex",
    ),
    Kind(
        "vertex claude", VERTEX, ("claude-haiku-4-5@20251001", "claude-opus-4-6"), prediction_path,
        prediction, cache_marks=True, pictures=True, may_think=True, provider="vertex",
    ),
    Kind(
        "vertex region", "us-east5-aiplatform.googleapis.com",
        ("claude-haiku-4-5@20251001", "claude-opus-4-6"), regional_path, prediction,
        cache_marks=True, pictures=True, may_think=True, provider="vertex", percent=110,
    ),
    Kind(
        "code assist", "cloudcode-pa.googleapis.com", ("gemini-2.5-flash", "gemini-2.5-pro"),
        assist_path, enveloped, pictures=True, plan="flat_counted", provider="gemini-code-assist",
    ),
    Kind(
        "chatgpt", "chatgpt.com", ("gpt-5.4",), lambda _: "/backend-api/codex/responses", codex,
        plan="flat", provider="chatgpt",
    ),
)  # fmt: skip
