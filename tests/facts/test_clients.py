"""Who a client is, how long it waits, and what makes it stop."""

import pytest

from tollkeeper import facts


@pytest.mark.parametrize(
    ("agent", "family"),
    [
        ("claude-cli/2.1.329 (external, cli)", "claude-code"),
        ("claude-code/2.1.226", "claude-code"),
        ("codex_cli_rs/0.169.0 (Ubuntu 22.4.0; x86_64) xterm-256color", "codex"),
        ("codex_exec/0.169.0 (Debian 12; x86_64)", "codex"),
        ("codex_vscode/0.169.0", "codex"),
        ("GeminiCLI/0.61.0/gemini-3.8-flash (linux; x64)", "gemini-cli"),
        ("GeminiCLI-vscode/0.61.0/gemini-3.8-flash (linux; x64)", "gemini-cli"),
        ("google-genai-sdk/2.0.0 gl-node/v24 GeminiCLI/0.61.0", "gemini-cli"),
        ("opencode/1.18.0 ai-sdk/provider-utils/4.0", "opencode"),
        ("aider/0.86.1", "aider"),
        ("litellm/1.106.0", "litellm"),
        ("pydantic-ai/2.62.0", "pydantic-ai"),
        ("ai/7.0.1 ai-sdk/openai/4.0 runtime/node.js/24", "ai-sdk"),
        ("OpenAI/Python 3.52.0", "openai-sdk"),
        ("AsyncOpenAI/Python 3.52.0", "openai-sdk"),
        ("AsyncAzureOpenAI/Python 3.52.0", "openai-sdk"),
        ("OpenAI/JS 7.55.0", "openai-sdk"),
        ("Agents/Python 0.24.0", "openai-sdk"),
        ("Anthropic/Python 2.11.0", "anthropic-sdk"),
        ("Anthropic/JS 1.11.0", "anthropic-sdk"),
        ("google-genai-sdk/3.4.0 gl-python/3.13.0", "google-sdk"),
        ("python-httpx/0.28.1", "httpx"),
        ("python-httpx2/2.16.2", "httpx"),
        ("curl/8.5.0", "other"),
        ("node", "other"),
        ("not claude-cli/2", "other"),
        ("", "other"),
    ],
)
def test_a_client_is_known_by_its_user_agent(agent: str, family: str) -> None:
    assert facts.client_family({"user-agent": agent}) == family


def test_aider_is_known_by_the_title_it_sends_through_openrouter() -> None:
    headers = {"user-agent": "OpenAI/Python 3.52.0", "x-title": "Aider"}

    assert facts.client_family(headers) == "aider"


def test_a_client_that_names_itself_nothing_is_other() -> None:
    assert facts.client_family({}) == "other"


@pytest.mark.parametrize(
    ("family", "headers", "seconds"),
    [
        ("claude-code", {}, 153),
        ("claude-code", {"x-stainless-timeout": "600"}, 153),
        ("claude-code", {"x-stainless-timeout": "60"}, 51),
        ("gemini-cli", {}, 51),
        ("codex", {}, 255),
        ("openai-sdk", {"x-stainless-read-timeout": "600"}, 510),
        ("openai-sdk", {"x-stainless-read-timeout": "600.0"}, 510),
        ("openai-sdk", {"x-stainless-read-timeout": "20"}, 17),
        ("openai-sdk", {"x-stainless-timeout": "600", "x-stainless-lang": "js"}, 255),
        ("openai-sdk", {}, 255),
        ("anthropic-sdk", {"x-stainless-timeout": "600", "x-stainless-read-timeout": "90"}, 76),
        (
            "anthropic-sdk",
            {"x-stainless-timeout": "NOT_GIVEN", "x-stainless-read-timeout": "600"},
            510,
        ),
        ("pydantic-ai", {"x-stainless-read-timeout": "600"}, 510),
        ("google-sdk", {"x-server-timeout": "30"}, 25),
        ("httpx", {}, 4),
        ("httpx", {"x-stainless-read-timeout": "600"}, 4),
        ("other", {}, 255),
        ("a family of the future", {}, 255),
        ("openai-sdk", {"x-stainless-read-timeout": "0"}, 1),
        ("openai-sdk", {"x-stainless-read-timeout": "0.5"}, 1),
        ("openai-sdk", {"x-stainless-read-timeout": "999999999"}, 3600),
        ("openai-sdk", {"x-stainless-read-timeout": "-5"}, 255),
        ("openai-sdk", {"x-stainless-read-timeout": "nan"}, 255),
        ("openai-sdk", {"x-stainless-read-timeout": "1e9"}, 255),
        ("openai-sdk", {"x-stainless-read-timeout": ""}, 255),
    ],
)
def test_a_hold_ends_before_the_client_gives_up(
    family: str, headers: dict[str, str], seconds: int
) -> None:
    assert facts.patience_seconds(family, headers) == seconds


@pytest.mark.parametrize(
    ("family", "status", "final"),
    [
        ("codex", 402, 400),
        ("codex", 403, 400),
        ("codex", 503, 400),
        ("codex", 429, 429),
        ("aider", 402, 400),
        ("aider", 403, 403),
        ("claude-code", 403, 400),
        ("claude-code", 402, 402),
        ("openai-sdk", 402, 402),
        ("other", 403, 403),
        ("a family of the future", 402, 402),
    ],
)
def test_clients_that_hammer_get_a_status_that_stops_them(
    family: str, status: int, final: int
) -> None:
    assert facts.final_status(family, status) == final


def test_only_clients_that_obey_the_header_are_asked_to_send_again() -> None:
    assert facts.retry_joins("openai-sdk")
    assert facts.retry_joins("anthropic-sdk")
    assert not facts.retry_joins("ai-sdk")
    assert not facts.retry_joins("codex")
    assert not facts.retry_joins("other")
