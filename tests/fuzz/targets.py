"""One callable for each parser: it takes any bytes, and raises when a promise does not hold."""

from __future__ import annotations

import dataclasses
import json
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml

from fuzz import sockets
from fuzz.reader import one_sentence, said, unique
from tollkeeper import facts
from tollkeeper.domain import Call, Changes, Dialect, Provider, Usage
from tollkeeper.errors import PolicyError, WireError
from tollkeeper.policy.load import load
from tollkeeper.proxy import reading
from tollkeeper.proxy.answer import Answer
from tollkeeper.wire import route
from tollkeeper.wire.dialect import Inbound

SAMPLES = Path(__file__).parent.parent / "wire" / "samples"
ANSWERS = {
    ".answer.json": "application/json",
    ".stream.sse": "text/event-stream",
    ".stream.json": "application/json",
    ".stream.ndjson": "application/x-ndjson",
    ".answer.bin": "application/octet-stream",
    ".stream.bin": "application/vnd.amazon.eventstream",
}
ENCODINGS = ("gzip", "deflate", "br", "zstd", "identity", "snappy")
LIMIT_BYTES = 1024 * 1024
LIMITED = {
    Dialect.OPENAI_CHAT, Dialect.OPENAI_RESPONSES, Dialect.OPENAI_TEXT, Dialect.ANTHROPIC, Dialect.GEMINI,
    Dialect.CODE_ASSIST, Dialect.BEDROCK_CONVERSE, Dialect.BEDROCK_INVOKE, Dialect.COHERE, Dialect.OLLAMA,
    Dialect.BEDROCK_NATIVE,
}  # fmt: skip
"""Dialects whose calls have an output limit."""
IN_PATH = {Dialect.BEDROCK_CONVERSE, Dialect.BEDROCK_INVOKE, Dialect.BEDROCK_NATIVE}
CHANGED = (
    "model",
    "max_output_tokens",
    "head_bound_tokens",
    "turns",
    "approval_digest",
    "unknown_parameters",
)
"""What may differ once a model and a limit were put in."""


@dataclass(frozen=True, slots=True)
class Target:
    """A parser and what it is known to read."""

    check: Callable[[bytes], None]
    seeds: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class Place:
    """Where a request goes, and what it says it is."""

    provider: Provider
    path: str
    content_type: str = "application/json"

    def parse(self, body: bytes, path: str | None = None) -> Call | None:
        """The call, or None where it is refused in one sentence."""
        bare, _, query = (path or self.path).partition("?")
        headers = {"content-type": self.content_type}
        asked = Inbound(self.provider, "POST", bare, query, headers, body)
        endpoint = route.recognise(self.provider, "POST", bare)
        assert endpoint is not None, bare
        try:
            return route.parse(asked, endpoint)
        except WireError as refused:
            one_sentence(refused)
            return None


def request(place: Place, body: bytes) -> None:
    """What is judged is what any other reader reads, and a change changes nothing else."""
    call = place.parse(body)
    if call is None or not call.metered:
        return
    assert call.head_bound_tokens >= 0
    assert all(turn.bound_tokens > 0 for turn in call.turns)
    assert call.choices >= 1
    assert call.max_output_tokens is None or call.max_output_tokens >= 0
    if "json" in place.content_type:
        read = json.loads(body, object_pairs_hook=unique)
        named = read.get("model") if isinstance(read, dict) else None
        in_path = "/models/" in place.path or place.provider.name == "vertex"
        if isinstance(named, str) and call.deployment is None and not in_path:
            assert call.model in (named, named.removeprefix("models/"))
    writes = call.max_output_tokens != 0 or call.dialect is Dialect.OPENAI_TEXT
    limited = call.dialect in LIMITED and "embed" not in call.operation and writes
    if limited and not call.features & {"no_output_limit", "fixed_model"}:
        changed(place, body, call)


def changed(place: Place, body: bytes, call: Call) -> None:
    """An alias' model and an output limit are put in, and the rest is as it was."""
    renamed = call.deployment is None and call.dialect not in IN_PATH
    renamed = renamed and place.provider.name != "vertex"  # whose regions price models differently
    changes = Changes(model="another-model" if renamed else None, max_output_tokens=7)
    try:
        sent, path = route.rewrite(call, body, place.path, changes, include_usage=False)
    except WireError as refused:
        one_sentence(refused)
        return
    again = place.parse(sent, path)
    assert again is not None
    assert again.max_output_tokens == 7
    assert again.model == (changes.model or call.model)
    kept = dataclasses.replace(again, **{name: getattr(call, name) for name in CHANGED})
    assert kept == call


def chunks(data: bytes) -> tuple[list[bytes], bytes]:
    """What is left of the data after its first bytes said where to cut it."""
    if len(data) < 4:
        return [data], data
    step, body = data[0] % 61 + 1, data[1:]
    borders = [*range(0, len(body), step), len(body)]
    return [body[a:b] for a, b in pairwise(borders)], body


def heard(call: Call, content_type: str, parts: list[bytes], *, take_out: bool) -> tuple[Any, ...]:
    answer = Answer(call, content_type, "", take_out_usage=take_out)
    out: list[bytes] = []
    for part in (*(part for part in parts if part), b""):
        given = answer(part)
        out += [given] if isinstance(given, bytes) else given
    assert not answer.broken
    return b"".join(out), answer.usage, answer.meter.done, answer.meter.seen_output_tokens_bound


def answer(call: Call, content_type: str, data: bytes) -> None:
    """However it is cut, an answer passes byte for byte and says the same."""
    parts, body = chunks(data)
    whole = heard(call, content_type, [body], take_out=False)
    cut = heard(call, content_type, parts, take_out=False)
    assert whole[0] == cut[0] == body
    assert whole[1:3] == cut[1:3]
    usage: Usage | None = whole[1]
    if usage is not None:
        figures = [value for value in dataclasses.astuple(usage) if isinstance(value, int)]
        assert min(figures, default=0) >= 0
    heard(call, content_type, parts, take_out=True)


def content_encoding(data: bytes) -> None:
    """Undone within bounds or refused, whatever it claims to be."""
    for encoding in ENCODINGS:
        try:
            assert len(reading.undo(data, encoding, LIMIT_BYTES)) <= LIMIT_BYTES
        except WireError as refused:
            one_sentence(refused)


def path(data: bytes) -> None:
    """One spelling of a path is known; every other is another path."""
    text = data.decode("latin-1")
    for provider in facts.providers().values():
        fact = facts.endpoint(provider, "POST", text) or facts.endpoint(provider, "GET", text)
        if fact is None:
            continue
        assert "//" not in text
        assert "/../" not in f"{text}/"
        assert text.isascii()
        assert text.isprintable()
        assert not {"?", "#", "\\", ";"} & set(text)


def host(data: bytes) -> None:
    """A name has one form, which is its own form."""
    form = facts.normalise_host(data.decode("utf-8", "replace"))
    if form is not None:
        assert facts.normalise_host(form) == form
        assert form.isascii()
        assert form == form.lower()


def policy(data: bytes) -> None:
    """A policy, or all its problems with their places."""
    with tempfile.NamedTemporaryFile(suffix=".yaml") as file:
        file.write(data)
        file.flush()
        try:
            load(Path(file.name))
        except PolicyError as refused:
            said(refused)


def sampled() -> Iterator[tuple[str, Target]]:
    """Requests and answers of every dialect that has samples."""
    requests: dict[tuple[str, str, str], list[bytes]] = {}
    answers: dict[tuple[str, str], tuple[Call, list[bytes]]] = {}
    for index in sorted(SAMPLES.glob("*/source.yaml")):
        for case in yaml.safe_load(index.read_text()):
            kind = case.get("content_type", "application/json")
            place = Place(facts.providers()[case["provider"]], case["path"], kind)
            [file] = index.parent.glob(f"{case['name']}.request.*")
            body = file.read_bytes()
            requests.setdefault((case["provider"], case["path"], kind), []).append(body)
            call = place.parse(body)
            for suffix, content_type in ANSWERS.items():
                recorded = index.parent / f"{case['name']}{suffix}"
                if call is not None and recorded.exists():
                    spoken = case.get("answer_type", content_type)
                    key = (f"{case['provider']} {case['path']}", spoken)
                    answers.setdefault(key, (call, []))[1].append(b"\x07" + recorded.read_bytes())
    for (provider, at, kind), bodies in requests.items():
        check = partial(request, Place(facts.providers()[provider], at, kind))
        yield f"request {provider} {at} {kind.partition(';')[0]}", Target(check, tuple(bodies))
    for (name, content_type), (call, seeds) in answers.items():
        yield (
            f"answer {name} {content_type}",
            Target(partial(answer, call, content_type), tuple(seeds)),
        )


def ready_made() -> tuple[bytes, ...]:
    folder = Path(__file__).parents[2] / "policies"
    return tuple(file.read_bytes() for file in sorted(folder.glob("*.yaml")))


TARGETS: dict[str, Target] = {
    **dict(sampled()),
    "content-encoding": Target(content_encoding, (b"\x1f\x8b\x08\x00", b"\x28\xb5\x2f\xfd")),
    "path": Target(
        path, (b"/v1/chat/completions", b"/v1beta/models/gemini-2.5-pro:generateContent")
    ),
    "host": Target(host, (b"api.openai.com", "bücher.example".encode(), b"127.1")),
    "policy": Target(policy, ready_made()),
    "frames responses": Target(
        partial(sockets.frames, sockets.responses), sockets.SEEDS["responses"]
    ),
    "frames realtime": Target(partial(sockets.frames, sockets.realtime), sockets.SEEDS["realtime"]),
}
