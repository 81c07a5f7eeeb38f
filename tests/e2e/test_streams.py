"""Streams: live, byte for byte, metered, and never free when they break."""

from __future__ import annotations

import base64
import json

from e2e.world import World, wait


def chat(prompt: str, **more: object) -> str:
    """A streaming chat body."""
    message = {"role": "user", "content": prompt}
    return json.dumps(
        {"model": "gpt-4o-mini", "max_tokens": 200, "stream": True, "messages": [message], **more}
    )


def test_first_chunk_is_delivered_before_the_second_is_sent(world: World) -> None:
    world.agent()
    proxy = world.proxy()

    [answer] = world.calls(proxy, body=chat("[sim tokens=12 delay=0.5]"))

    [call] = world.lab.calls(ended=1)
    first_received = answer["pieces"][0][0]
    sent = [at_ns / 1e9 for at_ns, _ in call["sends"]]
    assert len(answer["pieces"]) >= 5
    assert any(at > first_received for at in sent[1:])


def test_usage_event_that_we_asked_for_is_taken_out_again(world: World) -> None:
    world.agent()
    proxy = world.proxy()

    [answer] = world.calls(proxy, body=chat("[sim tokens=5]"))

    [call] = world.lab.calls(ended=1)
    assert json.loads(base64.b64decode(call["body_base64"]))["stream_options"] == {
        "include_usage": True
    }
    assert b'"usage":{' not in answer["body"].replace(b" ", b"")
    assert answer["body"].endswith(b"data: [DONE]\n\n")
    [row] = list(world.ledger().rows("select * from calls"))
    assert row["basis"] == "measured"
    assert row["output_tokens"] == 5


def test_usage_event_that_the_client_asked_for_stays(world: World) -> None:
    world.agent()
    proxy = world.proxy()
    body = chat("[sim tokens=5]", stream_options={"include_usage": True})

    [answer] = world.calls(proxy, body=body)

    [call] = world.lab.calls(ended=1)
    assert base64.b64decode(call["body_base64"]) == body.encode()
    assert b'"usage"' in answer["body"]


def test_stream_left_by_its_client_is_booked_for_what_was_received(world: World) -> None:
    world.agent()
    proxy = world.proxy()

    [answer] = world.calls(proxy, body=chat("[sim tokens=100 delay=0.05]"), leave_after_bytes=1500)

    assert answer["body"]
    wait(lambda: world.books()["open"] == 0)
    [row] = list(world.ledger().rows("select * from calls"))
    assert row["outcome"] == "cut"
    assert row["basis"] in ("estimated", "reserved")
    received = answer["body"].count(b'"content"')
    assert row["cost_nano_usd"] >= received * 600


def test_stream_cut_by_the_provider_is_booked_and_its_end_is_not_pretended(world: World) -> None:
    world.agent()
    proxy = world.proxy()

    [answer] = world.calls(proxy, body=chat("[sim tokens=50 cut=5]"))

    wait(lambda: world.books()["open"] == 0)
    assert b"[DONE]" not in answer["body"]
    [row] = list(world.ledger().rows("select * from calls"))
    assert row["outcome"] == "cut"
    assert row["cost_nano_usd"] >= 5 * 600


def test_connection_that_breaks_before_an_answer_is_booked_whole(world: World) -> None:
    world.agent()
    proxy = world.proxy()

    client = world.start_clients(proxy, 1, body=chat("[sim hang]"))
    world.lab.calls(received=1)
    client.kill()
    client.communicate()

    wait(lambda: world.books()["open"] == 0)
    [row] = list(world.ledger().rows("select * from calls"))
    assert row["basis"] == "reserved"
    assert row["cost_nano_usd"] == row["worst_nano_usd"] > 0


def test_error_answer_of_the_provider_costs_nothing(world: World) -> None:
    world.agent()
    proxy = world.proxy()

    [answer] = world.calls(proxy, body=chat("[sim status=529]"))

    assert answer["status"] == 529
    assert world.books()["spent"] == 0
