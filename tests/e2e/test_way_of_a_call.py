"""One call from end to end: who, what, bytes, keys, record."""

from __future__ import annotations

import base64
import json

from e2e.world import World, wait

BODY = '{ "model":"gpt-4o-mini" ,"max_tokens":10,\n "messages":[{"role":"user","content":"na\u00efve \\u00e9"}], "seed":7 }'


def test_allowed_call_reaches_the_provider_and_is_settled_to_the_nano_dollar(world: World) -> None:
    world.agent()
    proxy = world.proxy()

    [answer] = world.calls(proxy)

    assert answer["status"] == 200
    [call] = world.lab.calls(ended=1)
    usage = json.loads(answer["body"])["usage"]
    # gpt-4o-mini: $0.15 and $0.60 per million tokens.
    cost = usage["prompt_tokens"] * 150 + usage["completion_tokens"] * 600
    assert world.books() == {"spent": cost, "calls": 1, "open": 0}
    assert answer["headers"]["x-tollkeeper-cost-usd"] == f"{cost / 1e9:.9f}".rstrip("0")
    assert call["host"] == "api.openai.com"


def test_untouched_body_and_header_order_arrive_byte_for_byte(world: World) -> None:
    world.agent()
    proxy = world.proxy()
    fields = [
        ["Host", "api.openai.com"],
        ["X-Zebra", "1"],
        ["Authorization", "Bearer sk-agent"],
        ["accept", "*/*"],
        ["X-Apple", "2"],
        ["Content-Type", "application/json"],
    ]

    [answer] = world.calls(proxy, body=BODY, headers=fields)

    [call] = world.lab.calls(ended=1)
    assert base64.b64decode(call["body_base64"]) == BODY.encode()
    sent = [[name, value] for name, value in call["headers"] if name.lower() != "content-length"]
    assert sent == fields
    assert answer["status"] == 200


def test_answer_arrives_byte_for_byte(world: World) -> None:
    world.agent()
    proxy = world.proxy()
    odd = b'{ "model":"gpt-4o-mini",\t"usage":{"prompt_tokens":1,"completion_tokens":1},"x":"\\u00e9" }\n'
    world.lab.order("raw=" + base64.urlsafe_b64encode(odd).decode().rstrip("="))

    [answer] = world.calls(proxy)

    assert answer["body"] == odd


def test_injected_key_reaches_the_provider_and_no_flow_or_file(world: World) -> None:
    world.agent()
    world.policy({"providers": {"openai": {"key": {"env": "REAL_KEY"}}}})
    proxy = world.proxy(REAL_KEY="sk-the-real-one")
    fields = [
        ["Host", "api.openai.com"],
        ["Authorization", "Bearer sk-agent"],
        ["OpenAI-Organization", "org-agent"],
        ["api-key", "other"],
    ]

    world.calls(proxy, headers=fields)

    [call] = world.lab.calls(ended=1)
    sent = {name.lower(): value for name, value in call["headers"]}
    assert sent["authorization"] == "Bearer sk-the-real-one"
    assert "openai-organization" not in sent
    assert "api-key" not in sent
    kept = b"".join(path.read_bytes() for path in world.home.root.rglob("*") if path.is_file())
    for secret in ("sk-the-real-one", "sk-agent", world.tokens["atlas"]):
        assert secret.encode() not in kept


def test_missing_key_refuses_the_call_and_gives_its_reservation_back(world: World) -> None:
    world.agent(budget_nano_usd={"total": 10**9})
    world.policy({"providers": {"openai": {"key": {"env": "REAL_KEY"}}}})
    proxy = world.proxy()

    [answer] = world.calls(proxy)

    assert answer["status"] == 503
    assert json.loads(answer["body"])["error"]["code"] == "policy_unavailable"
    assert world.lab.calls() == []
    assert world.books()["open"] == 0


def test_control_headers_of_the_agent_never_reach_the_provider(world: World) -> None:
    world.agent()
    proxy = world.proxy()
    fields = [
        ["Host", "api.openai.com"],
        ["X-Tollkeeper-Agent", "root"],
        ["x-tollkeeper-step", "plan"],
    ]

    world.calls(proxy, headers=fields)

    [call] = world.lab.calls(ended=1)
    assert not [name for name, _ in call["headers"] if name.lower().startswith("x-tollkeeper")]


def test_alias_is_rerouted_with_the_other_providers_key(world: World) -> None:
    world.agent()
    world.policy(
        {
            "providers": {"groq": {"key": {"env": "GROQ"}}},
            "models": {"small": {"provider": "groq", "model": "llama-3.1-8b-instant"}},
        }
    )
    proxy = world.proxy(GROQ="gsk-real")
    body = json.dumps(
        {"model": "small", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 5}
    )

    [answer] = world.calls(proxy, body=body)

    [call] = world.lab.calls(ended=1)
    assert answer["status"] == 200
    assert call["host"] == "api.groq.com"
    assert call["path"] == "/openai/v1/chat/completions"
    assert json.loads(base64.b64decode(call["body_base64"]))["model"] == "llama-3.1-8b-instant"
    assert dict(call["headers"])["Authorization"] == "Bearer gsk-real"
    assert answer["headers"]["x-tollkeeper-model"] == "llama-3.1-8b-instant"


def test_own_key_never_follows_an_alias_to_another_provider(world: World) -> None:
    world.agent()
    world.policy({"models": {"small": {"provider": "groq", "model": "llama-3.1-8b-instant"}}})
    proxy = world.proxy()
    body = json.dumps({"model": "small", "messages": [{"role": "user", "content": "hi"}]})

    [answer] = world.calls(proxy, body=body)

    assert answer["status"] == 503
    assert world.lab.calls() == []
    assert world.books()["open"] == 0


def test_model_outside_the_list_is_refused_in_the_providers_shape(world: World) -> None:
    world.agent(models=("gpt-4o-mini",))
    proxy = world.proxy()
    body = json.dumps({"model": "o3", "messages": [{"role": "user", "content": "hi"}]})

    [answer] = world.calls(proxy, body=body)

    error = json.loads(answer["body"])["error"]
    assert answer["status"] == 403
    assert error["code"] == "policy_denied"
    assert "o3" in error["message"]
    assert answer["headers"]["x-should-retry"] == "false"
    assert world.lab.calls() == []


def test_unknown_endpoint_and_unreadable_body_are_refused_with_a_record(world: World) -> None:
    world.agent()
    proxy = world.proxy()

    [unknown] = world.calls(proxy, path="/v1/fine_tuning/jobs")
    [unreadable] = world.calls(proxy, body='{"model": "gpt-4o", "model": "o3"}')

    assert (unknown["status"], unreadable["status"]) == (403, 400)
    ledger = world.ledger()
    kinds = [row["data"] for row in ledger.audit(limit=100) if row["kind"] == "refused"]
    assert {"unknown_endpoint", "unreadable_request"} == {
        (json.loads(data) if isinstance(data, str) else data)["code"] for data in kinds
    }
    assert world.lab.calls() == []


def test_websocket_upgrade_is_answered_with_426_and_counted(world: World) -> None:
    world.agent()
    proxy = world.proxy()
    fields = [
        ["Host", "api.openai.com"],
        ["Connection", "Upgrade"],
        ["Upgrade", "websocket"],
        ["Sec-WebSocket-Version", "13"],
        ["Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="],
    ]

    [answer] = world.calls(proxy, method="GET", path="/v1/responses", headers=fields, body=" ")

    assert answer["status"] == 426
    proxy.stop()
    [counted] = world.ledger().rows("SELECT data FROM audit WHERE kind = 'turned_away'")
    assert json.loads(counted["data"]) == {"WebSocket": 1}


def test_policy_edit_is_in_force_by_itself_and_a_broken_one_is_not(world: World) -> None:
    world.agent()
    proxy = world.proxy()
    world.policy({"agents": {"atlas": {"models": ["gpt-4o"]}}})
    wait(lambda: "Policy reloaded" in proxy.log.read_text())
    [after_edit] = world.calls(proxy)
    (world.home.root / "policy.yaml").write_text("version: 1\nagent: {}\n")
    wait(lambda: "last good one" in proxy.log.read_text())

    [after_break] = world.calls(proxy)

    assert after_edit["status"] == 403
    assert after_break["status"] == 403


def test_observe_mode_lets_pass_what_it_would_refuse_and_says_so_in_the_record(
    world: World,
) -> None:
    world.agent(models=("gpt-4o",), budget_nano_usd={"total": 1})
    world.policy({"mode": "observe"})
    proxy = world.proxy()

    [answer] = world.calls(proxy)

    assert answer["status"] == 200
    ledger = world.ledger()
    [row] = list(ledger.rows("select * from calls"))
    assert "policy_denied" in json.dumps(row)
    assert "budget_exhausted" in json.dumps(row)
