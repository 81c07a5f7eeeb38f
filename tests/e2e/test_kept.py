"""What providers keep: background calls settled by those who ask, and objects that only their maker names."""

from __future__ import annotations

import json
from typing import Any

import pytest

from e2e.test_sdks import program
from e2e.world import World, wait

BUDGET = {"agents": {"default": {"budget_usd": {"total": 1}}}}
KEY = {"providers": {"openai": {"key": {"env": "REAL_KEY"}}}}
START = """
import openai
client = openai.OpenAI(max_retries=0)
r = client.responses.create(model=MODEL, input="hello SAY", background=True, max_output_tokens=50)
"""
POLL = """
while r.status in ("queued", "in_progress"): r = client.responses.retrieve(r.id)
print("GOT", r.status, r.output_text)
"""
STREAMED_POLL = """
for event in client.responses.retrieve(r.id, stream=True): last = event
print("GOT", last.response.status, last.response.output_text)
"""
CANCEL = """
print("GOT", client.responses.cancel(r.id).status)
"""


def row_of(world: World) -> dict[str, Any]:
    [row] = world.ledger().rows("select * from calls where operation = 'responses'")
    return row


@pytest.mark.parametrize("poll", [POLL, STREAMED_POLL])
@pytest.mark.parametrize("injected", [False, True])
def test_background_call_is_settled_by_the_poll_that_sees_its_end(
    world: World, poll: str, injected: bool
) -> None:
    world.agent()
    world.policy({**BUDGET, **(KEY if injected else {})})
    world.lab.order("polls=2 tokens=7")

    done = world.python(program("gpt-4o-mini", START + poll), world.proxy(REAL_KEY="sk-real"))

    assert done.stdout.startswith("GOT completed "), done.stdout
    assert world.books()["open"] == 0
    row = row_of(world)
    assert (row["basis"], row["outcome"], row["output_tokens"]) == ("measured", "complete", 7)
    assert 0 < row["cost_nano_usd"] <= row["worst_nano_usd"]


@pytest.mark.parametrize(
    "client",
    [
        'OpenAI(api_key="az", base_url="https://corp.openai.azure.com/openai/v1/")',
        'AzureOpenAI(api_key="az", api_version="2025-04-01-preview",'
        ' azure_endpoint="https://corp.openai.azure.com")',
    ],
)
def test_background_call_at_azure_is_settled_by_its_polls(world: World, client: str) -> None:
    world.agent()
    lab = {"connect_to": f"127.0.0.1:{world.lab.port}", "trust": str(world.lab.certificate)}
    azure = lab | {"deployments": {"prod": "gpt-4o-mini"}}
    world.policy({**BUDGET, "providers": {"azure": azure}})
    world.lab.order("polls=2 tokens=7")
    code = START.replace("OpenAI(max_retries=0)", client)

    done = world.python(program("prod", code + POLL), world.proxy())

    assert done.stdout.startswith("GOT completed "), done.stdout
    row = row_of(world)
    assert (row["basis"], row["output_tokens"]) == ("measured", 7)


def test_background_call_whose_answer_nobody_can_ask_for_is_refused(world: World) -> None:
    world.agent()
    world.policy({})
    path = "/backend-api/codex/responses"

    [answer] = world.calls(world.proxy(), host="chatgpt.com", path=path, body=post(background=True))

    assert answer["status"] in (400, 403)
    assert b"send this call without `background`" in answer["body"]
    assert world.lab.calls() == []


def test_reservation_of_a_background_call_stands_until_it_is_asked_for_over_a_restart(
    world: World,
) -> None:
    world.agent()
    world.policy(BUDGET)
    proxy = world.proxy()
    started = START + 'print("GOT", r.id, r.status)'

    done = world.python(program("gpt-4o-mini", started), proxy)
    response = done.stdout.split()[1]

    assert world.books()["open"] == 1
    proxy.kill()
    again = world.proxy()
    assert world.books()["open"] == 1
    code = POLL.replace(
        "while", "import openai\nclient = openai.OpenAI()\nr = client.responses.retrieve(ID)\nwhile"
    )
    done = world.python(program("gpt-4o-mini", code.replace("ID)", f"'{response}')", 1)), again)
    assert done.stdout.startswith("GOT completed "), done.stdout
    assert world.books()["open"] == 0
    assert row_of(world)["basis"] == "measured"


def test_cancelled_background_call_is_booked_as_reserved(world: World) -> None:
    world.agent()
    world.policy(BUDGET)

    done = world.python(program("gpt-4o-mini", START + CANCEL), world.proxy())

    assert done.stdout.startswith("GOT cancelled"), done.stdout
    row = row_of(world)
    assert (row["basis"], row["cost_nano_usd"]) == ("reserved", row["worst_nano_usd"])


def test_background_stream_that_its_client_left_stays_open_until_it_is_asked_for(
    world: World,
) -> None:
    world.agent()
    world.policy(BUDGET)
    world.lab.order("tokens=40 delay=0.05")
    code = """
import openai
client = openai.OpenAI()
s = client.responses.create(model=MODEL, input="hello", background=True, stream=True, max_output_tokens=50)
r = next(iter(s)).response
s.close()
"""

    world.python(program("gpt-4o-mini", code + STREAMED_POLL), world.proxy())

    wait(lambda: world.books()["open"] == 0)
    assert (row_of(world)["basis"], row_of(world)["output_tokens"]) == ("measured", 40)


def post(**more: Any) -> str:
    return json.dumps({"model": "gpt-4o-mini", "input": "hello", "max_output_tokens": 20, **more})


def test_agent_names_again_what_its_own_calls_made_and_nobody_else_does(world: World) -> None:
    """With the operator's key, which could name everybody's."""
    world.agent("parent")
    world.agent("atlas", parent="parent")
    world.agent("stranger")
    world.policy({**BUDGET, **KEY})
    proxy = world.proxy(REAL_KEY="sk-real")
    [made] = world.calls(proxy, path="/v1/responses", body=post())
    response = json.loads(made["body"])["id"]

    def names(agent: str, **plan: Any) -> int:
        [answer] = world.calls(proxy, auth=f"{agent}:{world.tokens[agent]}", **plan)
        if answer["status"] == 403:
            assert b"no call of this agent has made" in answer["body"]
        return int(answer["status"])

    follow = {"path": "/v1/responses", "body": post(previous_response_id=response)}
    unmade = {"path": "/v1/responses", "body": post(previous_response_id="resp_other")}
    read = {"path": f"/v1/responses/{response}", "method": "GET", "body": " "}
    assert [names(one, **follow) for one in ("atlas", "parent", "stranger")] == [200, 200, 403]
    assert [names("atlas", **unmade), names("stranger", **read)] == [403, 403]
    assert names("atlas", **read) != 403


def test_stream_names_what_it_made_before_its_end(world: World) -> None:
    world.agent()
    world.policy({**BUDGET, **KEY})
    code = """
import openai
client = openai.OpenAI(max_retries=0)
s = client.responses.create(model=MODEL, input="hello", stream=True, max_output_tokens=20)
r = next(iter(s)).response
import time
for _ in range(300):
    try: made = client.responses.create(model=MODEL, input="go on", previous_response_id=r.id, max_output_tokens=20)
    except openai.PermissionDeniedError: time.sleep(0.1)
    else: break
s.close()
print("GOT", made.status)
"""
    world.lab.order("tokens=20 delay=0.5")

    done = world.python(program("gpt-4o-mini", code), world.proxy(REAL_KEY="sk-real"))

    assert done.stdout.startswith("GOT completed"), done.stdout
