"""Subscription backends through the real proxy: metered at notional cost, and what counts of it."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
import zstandard

from e2e.world import PATIENCE_SECONDS, World
from tollkeeper.domain import Window

OAUTH = "sk-ant-oat01-a-token-that-nobody-may-see"
LOGIN = "eyJhbGciOiJub25lIn0.a-login-that-nobody-may-see.x"
MESSAGE = {
    "model": "claude-haiku-4-5",
    "max_tokens": 50,
    "messages": [{"role": "user", "content": "hello"}],
}
RESPONSE = {
    "model": "gpt-5.4",
    "instructions": "You are Codex.",
    "input": [
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hello"}]}
    ],
    "store": False,
    "stream": True,
}
GENERATION = {
    "model": "gemini-2.5-flash",
    "project": "some-project",
    "user_prompt_id": "p1",
    "request": {"contents": [{"role": "user", "parts": [{"text": "hello"}]}]},
}
HAIKU_NANO_USD = (1_000, 5_000)  # a token in and out: $1 and $5 per million


def claude(*credentials: tuple[str, str], **body: Any) -> dict[str, Any]:
    """A call of Claude Code."""
    return {
        "host": "api.anthropic.com",
        "path": "/v1/messages?beta=true",
        "headers": [
            ["Host", "api.anthropic.com"],
            ["anthropic-version", "2023-06-01"],
            ["anthropic-beta", "oauth-2025-04-20"],
            ["Content-Type", "application/json"],
            *map(list, credentials or [("Authorization", f"Bearer {OAUTH}")]),
        ],
        "body": json.dumps(MESSAGE | body),
    }


def codex(path: str = "/backend-api/codex/responses", **more: Any) -> dict[str, Any]:
    """A call of Codex on a ChatGPT plan."""
    return {
        "host": "chatgpt.com",
        "path": path,
        "headers": [
            ["Host", "chatgpt.com"],
            ["Authorization", f"Bearer {LOGIN}"],
            ["ChatGPT-Account-Id", "account-that-nobody-may-see"],
            ["Content-Type", "application/json"],
        ],
        "body": json.dumps(RESPONSE),
        **more,
    }


def gemini(path: str = "/v1internal:streamGenerateContent?alt=sse", **body: Any) -> dict[str, Any]:
    """A call of gemini-cli to Code Assist."""
    return {
        "host": "cloudcode-pa.googleapis.com",
        "path": path,
        "headers": [
            ["Host", "cloudcode-pa.googleapis.com"],
            ["Authorization", "Bearer ya29.a-token-that-nobody-may-see"],
            ["Content-Type", "application/json"],
        ],
        "body": json.dumps(GENERATION | body),
    }


def rows(world: World) -> list[dict[str, Any]]:
    """What the books say of each metered call, in order."""
    world.books()
    ledger = world.ledger()
    found = list(ledger.rows("SELECT * FROM calls WHERE model_key != '' ORDER BY at_ns, id"))
    ledger.close()
    return found


@pytest.mark.parametrize("call", [codex(), gemini(), claude()], ids=["codex", "gemini", "claude"])
def test_call_on_a_plan_works_and_its_notional_cost_counts_until_the_owner_says_otherwise(
    world: World, call: dict[str, Any]
) -> None:
    world.agent(budget_nano_usd={Window.TOTAL: 20_000_000_000})
    proxy = world.proxy()

    [answer] = world.calls(proxy, **call)

    assert answer["status"] == 200
    [row] = rows(world)
    assert (row["state"], row["basis"], row["billing"]) == ("settled", "measured", "flat_counted")
    assert row["notional_nano_usd"] == row["cost_nano_usd"] > 0
    assert world.books()["spent"] == row["cost_nano_usd"]
    assert "x-tollkeeper-cost-usd" not in answer["headers"]


@pytest.mark.parametrize("call", [codex(), gemini(), claude()], ids=["codex", "gemini", "claude"])
def test_plan_that_does_not_count_passes_an_empty_budget_and_is_still_metered(
    world: World, call: dict[str, Any]
) -> None:
    uncounted = {"billing": "flat", "counts": False}
    names = ("anthropic", "chatgpt", "gemini-code-assist")
    world.policy({"providers": dict.fromkeys(names, uncounted)})
    world.agent(budget_nano_usd={Window.TOTAL: 0}, requests={Window.TOTAL: 2})
    proxy = world.proxy()

    seen = [world.calls(proxy, **call)[0]["status"] for _ in range(3)]

    assert seen == [200, 200, 402]  # the quota of calls holds for plans too
    first, second, _ = rows(world)
    assert (first["cost_nano_usd"], first["billing"], first["worst_nano_usd"]) == (0, "flat", 0)
    assert first["notional_nano_usd"] > 0
    assert second["notional_nano_usd"] > 0
    assert world.books()["spent"] == 0


def test_api_key_on_the_same_host_is_money_however_a_plan_is_treated(world: World) -> None:
    world.policy({"providers": {"anthropic": {"counts": False}}})
    world.agent(budget_nano_usd={Window.TOTAL: 0})
    proxy = world.proxy()
    key = ("x-api-key", "sk-ant-api03-real-money")
    plan = ("Authorization", f"Bearer {OAUTH}")

    disguised = [
        [key],
        [("Authorization", "Bearer sk-ant-api03-real-money")],
        [plan, key],  # nobody knows which of them is billed
        [key, plan],
        [plan, plan],
        [("Authorization", f"Bearer {OAUTH}, x")],
        [("Authorization", f"bearer  {OAUTH}")],
        [("x-api-key", OAUTH)],
    ]
    seen = [world.calls(proxy, **claude(*one))[0]["status"] for one in disguised]

    assert seen == [402] * len(disguised)
    assert world.calls(proxy, **claude(plan))[0]["status"] == 200
    assert {row["billing"] for row in rows(world) if row["state"] == "refused"} == {"metered"}


@pytest.mark.parametrize("says", ["overage", "nothing"])
def test_what_the_provider_does_not_say_the_plan_paid_is_booked_as_money(
    world: World, says: str
) -> None:
    world.policy({"providers": {"anthropic": {"counts": False}}})
    world.agent(budget_nano_usd={Window.TOTAL: 1_000})
    proxy = world.proxy()
    world.lab.order(f"plan={says} tokens=5")

    [answer] = world.calls(proxy, **claude())

    usage = json.loads(answer["body"])["usage"]
    per_input, per_output = HAIKU_NANO_USD
    cost = usage["input_tokens"] * per_input + usage["output_tokens"] * per_output
    [row] = rows(world)
    assert (row["billing"], row["cost_nano_usd"], row["notional_nano_usd"]) == (
        "metered",
        cost,
        None,
    )
    assert answer["headers"]["x-tollkeeper-cost-usd"]
    assert world.books()["spent"] == cost


def test_injected_key_takes_the_place_of_a_plans_token_and_is_money(world: World) -> None:
    key = {"key": {"env": "REAL_KEY"}, "counts": False}
    world.policy({"providers": {"anthropic": key}})
    world.agent()
    proxy = world.proxy(REAL_KEY="sk-ant-api03-injected")

    [answer] = world.calls(proxy, **claude())

    assert answer["status"] == 200
    [sent] = world.lab.calls(ended=1)
    fields = {name.lower(): value for name, value in sent["headers"]}
    assert fields["x-api-key"] == "sk-ant-api03-injected"
    assert "authorization" not in fields
    [row] = rows(world)
    assert (row["billing"], row["notional_nano_usd"]) == ("metered", None)
    assert row["cost_nano_usd"] > 0


def test_call_that_may_draw_on_bought_credits_is_money(world: World) -> None:
    world.policy({"providers": {"gemini-code-assist": {"counts": False}}})
    world.agent(budget_nano_usd={Window.TOTAL: 0})
    proxy = world.proxy()

    [free] = world.calls(proxy, **gemini())
    [bought] = world.calls(proxy, **gemini(enabled_credit_types=["GOOGLE_ONE_AI"]))
    [camel] = world.calls(proxy, **gemini(enabledCreditTypes=["GOOGLE_ONE_AI"]))

    assert [free["status"], bought["status"], camel["status"]] == [200, 402, 402]


def test_output_limit_goes_into_the_envelope_and_every_other_byte_stays(world: World) -> None:
    world.policy({"agents": {"atlas": {"max_output_tokens": 7}}})
    world.agent()
    proxy = world.proxy()
    body = '{ "project":"p","request":{"contents":[{"parts":[{"text":"caf\\u00e9"}]}] },\n"model":"gemini-2.5-flash"}'

    [answer] = world.calls(proxy, **gemini() | {"body": body})

    assert answer["status"] == 200
    [sent] = world.lab.calls(ended=1)
    limit = ', "generationConfig": {"maxOutputTokens": 7}'
    arrived = base64.b64decode(sent["body_base64"]).decode()
    assert json.loads(arrived)["request"]["generationConfig"] == {"maxOutputTokens": 7}
    assert len(arrived) - len(body) <= len(limit)
    assert arrived.startswith(
        '{ "project":"p","request":{"contents":[{"parts":[{"text":"caf\\u00e9"'
    )
    assert arrived.endswith('},\n"model":"gemini-2.5-flash"}')


def test_backend_without_output_limits_refuses_under_one_and_says_so(world: World) -> None:
    world.policy({"agents": {"atlas": {"max_output_tokens": 100}}})
    world.agent()
    proxy = world.proxy()

    [answer] = world.calls(proxy, **codex())

    error = json.loads(answer["body"])["error"]
    assert answer["status"] == 403
    assert "takes no output limit" in error["message"]


def test_compressed_body_of_codex_is_read_and_arrives_as_it_was(world: World) -> None:
    world.agent()
    proxy = world.proxy()
    packed = zstandard.compress(json.dumps(RESPONSE).encode())
    call = codex(body_base64=base64.b64encode(packed).decode())
    call["headers"].append(["Content-Encoding", "zstd"])

    [answer] = world.calls(proxy, **call)

    assert answer["status"] == 200
    [sent] = world.lab.calls(ended=1)
    assert base64.b64decode(sent["body_base64"]) == packed
    assert rows(world)[0]["model"] == "gpt-5.4"


@pytest.mark.parametrize(
    ("method", "call"),
    [
        ("GET", codex("/backend-api/codex/models?client_version=0.169.0")),
        ("GET", codex("/backend-api/wham/usage")),
        ("GET", codex("/backend-api/wham/accounts/check")),
        ("POST", codex("/backend-api/codex/analytics-events/events")),
        ("POST", gemini("/v1internal:loadCodeAssist")),
        ("POST", gemini("/v1internal:retrieveUserQuota")),
        ("POST", gemini("/v1internal:countTokens")),
        ("GET", claude() | {"path": "/api/oauth/usage"}),
        ("GET", claude() | {"path": "/api/oauth/profile"}),
    ],
)
def test_side_endpoint_of_a_plan_is_free(world: World, method: str, call: dict[str, Any]) -> None:
    world.agent(budget_nano_usd={Window.TOTAL: 0})
    proxy = world.proxy()

    [answer] = world.calls(proxy, method=method, **call)

    assert answer["status"] == 200
    assert world.books()["spent"] == 0


@pytest.mark.parametrize(
    "call",
    [
        codex("/backend-api/wham/tasks"),
        codex("/backend-api/ps/mcp"),
        codex("/backend-api/conversation"),
        gemini("/v1internal:setCodeAssistGlobalUserSetting"),
        claude() | {"path": "/api/oauth/claude_cli/create_api_key"},
    ],
)
def test_what_else_a_plan_can_do_is_refused_with_a_reason(
    world: World, call: dict[str, Any]
) -> None:
    world.agent()
    proxy = world.proxy()

    [answer] = world.calls(proxy, **call)

    assert answer["status"] == 403
    assert b"is not an endpoint of" in answer["body"]
    assert world.lab.calls() == []


def test_rule_refuses_and_holds_calls_on_a_plan(world: World) -> None:
    world.policy(
        {
            "providers": {"chatgpt": {"counts": False}, "anthropic": {"counts": False}},
            "rules": [
                {
                    "name": "not-this",
                    "call": {"provider": "anthropic"},
                    "deny": "Not on this desk.",
                },
                {"name": "dear", "call": {"worst_cost_usd": {"over": 0.01}}, "hold": {}},
            ],
        }
    )
    world.agent(budget_nano_usd={Window.TOTAL: 0})
    proxy = world.proxy()

    [refused] = world.calls(proxy, **claude())
    waiting = world.start_clients(proxy, 1, **codex())
    [approval] = world.waits_for_approval()
    ledger = world.ledger()
    summary = ledger.approval(approval).summary
    ledger.close()
    world.verdict(approval)
    out, _ = waiting.communicate(timeout=PATIENCE_SECONDS)

    assert b"Not on this desk." in refused["body"]
    assert (summary["billing"], summary["worst_nano_usd"] > 0) == ("flat", True)
    assert json.loads(out)["status"] == 200


def test_approval_of_a_plans_call_does_not_release_the_same_call_with_a_key(world: World) -> None:
    world.policy({"rules": [{"name": "ask", "call": {}, "hold": {}}]})
    world.agent()
    proxy = world.proxy()
    first = world.start_clients(proxy, 1, **claude())
    [approval] = world.waits_for_approval()
    world.verdict(approval)
    first.communicate(timeout=PATIENCE_SECONDS)

    second = world.start_clients(proxy, 1, **claude(("x-api-key", "sk-ant-api03-real-money")))
    [other] = world.waits_for_approval()
    world.verdict(other, "rejected")
    out, _ = second.communicate(timeout=PATIENCE_SECONDS)

    assert other != approval
    assert json.loads(out)["status"] == 403


def test_no_token_of_a_plan_is_written_anywhere(world: World) -> None:
    world.agent()
    proxy = world.proxy()
    for call in (codex(), gemini(), claude()):
        assert world.calls(proxy, **call)[0]["status"] == 200
    proxy.stop()

    written = [path for path in world.folder.rglob("*") if path.is_file()]

    plans = [path for path in written if path.name.startswith("plan-")]  # the clients' own
    for path in set(written) - set(plans):
        assert b"that-nobody-may-see" not in path.read_bytes(), path
