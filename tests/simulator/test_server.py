"""What is received is kept as it came; what is sent is sent piece by piece; what is made is billed."""

from __future__ import annotations

import base64
import hashlib
import json
import socket
import ssl
import subprocess
import sys
import urllib.error
import urllib.request
import zlib
from pathlib import Path

import httpx2
import pytest

from tollkeeper.simulator.lab import Lab, body_of, in_process
from tollkeeper.simulator.wiring import providers

URL = "https://api.openai.com/v1/chat/completions"


def connect(lab: Lab, name: str = "api.openai.com") -> ssl.SSLSocket:
    context = ssl.create_default_context(cafile=lab.certificate)
    raw = socket.create_connection(("127.0.0.1", lab.port), timeout=90)
    return context.wrap_socket(raw, server_hostname=name)


def request(prompt: str, *, extra: str = "", **members: object) -> bytes:
    body = {"model": "gpt-4o", "messages": [{"role": "user", "content": prompt}], **members}
    data = json.dumps(body).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhOsT: api.openai.com\r\n{extra}"
    return f"{head}content-LENGTH: {len(data)}\r\n\r\n".encode() + data


def read_until(connection: ssl.SSLSocket, wanted: bytes) -> bytes:
    data = b""
    while wanted not in data:
        part = connection.recv(65536)
        assert part, data
        data += part
    return data


# ---------------------------------------------------------------------------------- received


def test_headers_keep_their_order_and_case_and_the_body_its_bytes(lab):
    sent = request("h\u00e9 [sim tokens=1]", extra="X-b: 1\r\nx-A:  2\r\nX-B: 3\r\n")
    with connect(lab) as connection:
        connection.sendall(sent)
        read_until(connection, b"finish_reason")

    (call,) = lab.calls(ended=1)

    assert base64.b64decode(call["head_base64"]) + body_of(call) == sent
    assert [name for name, _ in call["headers"]] == ["hOsT", "X-b", "x-A", "X-B", "content-LENGTH"]
    assert call["body_sha256"] == hashlib.sha256(body_of(call)).hexdigest()
    assert (call["host"], call["server_name"]) == ("api.openai.com", "api.openai.com")


@pytest.mark.parametrize("name", ["api.openai.com", "my-vllm.corp.example", "eu.api.openai.com"])
def test_any_name_gets_a_certificate_of_its_own(lab, name):
    with connect(lab, name) as connection:
        certificate = connection.getpeercert()

    assert certificate["subjectAltName"] == (("DNS", name),)


def test_nobody_trusts_the_lab_who_is_not_told_to(lab):
    raw = socket.create_connection(("127.0.0.1", lab.port))

    with pytest.raises(ssl.SSLCertVerificationError), raw:
        ssl.create_default_context().wrap_socket(raw, server_hostname="api.openai.com")


def test_a_connection_carries_many_calls_even_sent_ahead(lab):
    with connect(lab) as connection:
        connection.sendall(request("one") + request("two"))
        read_until(connection, b"chatcmpl")
        connection.sendall(request("three"))

        calls = lab.calls(ended=3)

    assert len({call["connection"] for call in calls}) == 1
    assert [json.loads(body_of(c))["messages"][0]["content"] for c in calls] == [
        "one",
        "two",
        "three",
    ]


def test_a_chunked_request_is_read(http, lab):
    body = json.dumps({"model": "m", "messages": [{"role": "user", "content": "hi"}]}).encode()

    answer = http.post(URL, content=iter([body[:10], body[10:]]))

    assert answer.status_code == 200
    assert body_of(lab.calls()[0]) == body


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"7", b"{}", b'{"model": "m"}', b'{"model": "m", "messages": 3}'],
)
def test_what_cannot_be_read_is_refused_and_free(http, lab, body):
    answer = http.post(URL, content=body)

    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "invalid_request_error"
    assert lab.bill()["calls"] == 0


def test_unknown_directives_are_an_error_that_names_them(chat):
    answer = chat("[sim tokns=3]")

    assert answer.status_code == 400
    assert "tokns" in answer.json()["error"]["message"]


def test_unknown_paths_are_not_found(http):
    assert http.post("https://api.openai.com/v1/fine_tuning/jobs", json={}).status_code == 404
    assert http.get("https://api.anthropic.com/v1/organizations").json()["type"] == "error"


def test_telemetry_is_taken_and_free(http, lab):
    for path in ("openai.com/v1/traces/ingest", "anthropic.com/api/event_logging/v2/batch"):
        assert http.post(f"https://api.{path}", content=b"anything").status_code == 200
    assert lab.bill()["calls"] == 0


# -------------------------------------------------------------------------------------- sent


def test_the_first_piece_is_delivered_before_the_second_is_sent(lab):
    with connect(lab) as connection:
        connection.sendall(request("[sim tokens=2 delay=30]", stream=True))

        seen = read_until(connection, b'"content":"the"')

        assert b"quick" not in seen
        (call,) = lab.calls(received=1)
        assert call["outcome"] == "open"
        assert call["billed"]["output_tokens"] == 1


def test_events_can_be_split_over_any_chunks(chat, http):
    whole = chat("[sim tokens=5]", stream=True)
    body = {"model": "gpt-4o", "stream": True}
    body["messages"] = [{"role": "user", "content": "[sim tokens=5 split=7]"}]

    with http.stream("POST", URL, json=body) as answer:
        chunks = list(answer.iter_raw())

    assert max(map(len, chunks)) <= 7
    assert b"".join(chunks).count(b"data: ") == whole.text.count("data: ")


def test_an_answer_can_be_compressed_unasked(chat):
    answer = chat("[sim tokens=3 encoding=gzip]")

    assert answer.headers["content-encoding"] == "gzip"
    assert answer.json()["choices"][0]["message"]["content"] == "the quick brown"


def test_a_compressed_stream_is_readable_event_by_event(lab):
    with connect(lab) as connection:
        connection.sendall(request("[sim tokens=2 delay=30 encoding=gzip]", stream=True))
        head = read_until(connection, b"\r\n\r\n").partition(b"\r\n\r\n")[2]
        size, _, rest = (head or connection.recv(65536)).partition(b"\r\n")

        assert (
            zlib.decompressobj(16 + zlib.MAX_WBITS)
            .decompress(rest[: int(size, 16)])
            .startswith(b"data: ")
        )


def test_a_body_can_be_anything(chat):
    words = base64.urlsafe_b64encode(b"no json \xff").decode().rstrip("=")

    assert chat(f"[sim raw={words}]").content == b"no json \xff"


def test_usage_can_be_missing_and_is_billed_all_the_same(chat, lab):
    assert "usage" not in chat("[sim tokens=8 no_usage]").json()
    assert lab.bill()["usage"]["output_tokens"] == 8


def test_a_broken_provider_may_generate_past_the_limit(chat, lab):
    chat("[sim tokens=80 ignore_limit]", max_tokens=5)

    assert lab.bill()["usage"]["output_tokens"] == 80


def test_an_error_may_name_its_retry_after(chat):
    answer = chat("[sim status=429 retry_after=7]")

    assert (answer.status_code, answer.headers["retry-after"]) == (429, "7")


# -------------------------------------------------------------------------------------- cut


@pytest.mark.parametrize("after", [0, 3])
def test_a_stream_that_breaks_off_is_billed_for_what_was_made(chat, lab, after):
    with pytest.raises(httpx2.TransportError):
        chat(f"[sim tokens=9 cut={after}]", stream=True)

    (call,) = lab.calls(ended=1)
    assert call["outcome"] == "cut"
    assert call["billed"]["output_tokens"] == after
    assert call["billed"]["input_tokens"] > 0


def test_a_json_answer_that_breaks_off_is_billed_in_full(chat, lab):
    with pytest.raises(httpx2.TransportError):
        chat("[sim tokens=9 chunks=4 cut=2]")

    assert lab.calls(ended=1)[0]["billed"]["output_tokens"] == 9


def test_a_cut_after_the_last_piece_leaves_out_the_end(lab):
    with connect(lab) as connection:
        connection.sendall(request("[sim tokens=2 cut=2]", stream=True))
        data = b""
        while part := connection.recv(65536):
            data += part

    assert b"quick" in data
    assert b"[DONE]" not in data


def test_a_client_that_leaves_a_stream_is_billed_for_what_was_made(lab):
    with connect(lab) as connection:
        connection.sendall(request("[sim tokens=50 stall=4]", stream=True))
        read_until(connection, b"fox")

    (call,) = lab.calls(ended=1)
    assert call["outcome"] == "client_gone"
    assert call["billed"]["output_tokens"] == 4


def test_a_client_that_leaves_before_the_answer_is_billed_all_the_same(lab):
    with connect(lab) as connection:
        connection.sendall(request("[sim tokens=50 first_delay=60]"))
        lab.calls(received=1)

    (call,) = lab.calls(ended=1)
    assert (call["outcome"], call["billed"]["output_tokens"]) == ("client_gone", 50)


def test_a_provider_that_hangs_bills_what_it_read(lab):
    with connect(lab) as connection:
        connection.sendall(request("[sim hang]"))
        lab.calls(received=1)

    (call,) = lab.calls(ended=1)
    assert call["outcome"] == "client_gone"
    assert call["billed"]["output_tokens"] == 0
    assert call["billed"]["input_tokens"] > 0


# ----------------------------------------------------------------------------------- watched


def test_orders_steer_the_next_calls_of_their_host(chat, lab):
    lab.order("status=503", times=2, host="api.openai.com")
    lab.order("tokens=1", host="api.anthropic.com")

    assert [chat("hi").status_code for _ in range(3)] == [503, 503, 200]


def test_an_order_wins_over_the_prompt(chat, lab):
    lab.order("tokens=2")

    assert chat("[sim tokens=9]").json()["usage"]["completion_tokens"] == 2


def test_the_bill_adds_up_by_model(chat, lab):
    chat("[sim tokens=3 reasoning=2]")
    chat("[sim tokens=4]", model="o3")

    bill = lab.bill()

    assert (bill["received"], bill["calls"], bill["usage"]["output_tokens"]) == (2, 2, 9)
    assert {name: m["output_tokens"] for name, m in bill["models"].items()} == {
        "gpt-4o": 5,
        "o3": 4,
    }
    assert bill["usage"]["reasoning_output_tokens"] == 2


def test_calls_at_the_same_time_are_counted(lab):
    with connect(lab) as one, connect(lab) as two:
        one.sendall(request("[sim hang]"))
        two.sendall(request("[sim hang]"))
        lab.calls(received=2)

        assert lab.bill()["peak_concurrent"] == 2


def test_a_reset_forgets_calls_keys_and_orders(chat, lab):
    chat("hi")
    lab.expect_keys({"api.openai.com": ["sk"]})
    lab.order("status=500")

    lab.reset()

    assert lab.calls() == []
    assert chat("hi").status_code == 200


def test_the_watcher_says_what_it_does_not_know(lab):
    with pytest.raises(urllib.error.HTTPError, match="404"):
        urllib.request.urlopen(f"http://127.0.0.1:{lab.control_port}/nothing")


def test_the_simulator_runs_as_a_process_of_its_own(tmp_path):
    with in_process(tmp_path) as lab, connect(lab) as connection:
        connection.sendall(request("hi"))
        read_until(connection, b"Hello")

        assert len(lab.calls(ended=1)) == 1
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", lab.port))


def test_a_port_that_is_taken_is_an_error_at_start(lab, tmp_path):
    command = [sys.executable, "-m", "tollkeeper.simulator", "--port", str(lab.port)]

    done = subprocess.run(
        [*command, "--folder", str(tmp_path)], capture_output=True, text=True, timeout=90
    )

    assert done.returncode == 1
    assert done.stdout == ""


def test_a_policy_is_pointed_at_the_simulator():
    wired = providers(8443, Path("/lab/lab-ca.pem"), ["openai"], keys={"openai": "REAL_KEY"})

    assert wired == {
        "openai": {
            "connect_to": "127.0.0.1:8443",
            "trust": "/lab/lab-ca.pem",
            "key": {"env": "REAL_KEY"},
        }
    }
