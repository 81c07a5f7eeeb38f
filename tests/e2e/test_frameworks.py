"""Agent frameworks as their users install them, unchanged, with nothing but the environment.

They have an environment of their own, ``.venv-frameworks``; ``frameworks.txt`` says how it is made.
``TOLLKEEPER_CLIENTS_PYTHON`` names the interpreter of another one.

Measured with litellm 1.83.0 (openai 3.52.0) and 1.106.2 (openai 2.54.0), langchain-openai 1.7.3,
pydantic-ai 2.68.0, agex 0.13.0, openai-agents 0.24.0 and smolagents 1.26.0: one request for each
final refusal, whatever its cause. openai-agents sends its traces besides, to a free endpoint.
"""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from e2e.world import Proxy, World
from tollkeeper.domain import Window
from tollkeeper.simulator.lab import Lab

pytestmark = pytest.mark.clients

OWN = Path(__file__).parents[2] / ".venv-frameworks" / "bin" / "python"
PYTHON = os.environ.get("TOLLKEEPER_CLIENTS_PYTHON") or str(OWN if OWN.exists() else sys.executable)
INSTALL = (
    "uv venv .venv-frameworks && uv pip install -p .venv-frameworks -r tests/e2e/frameworks.txt"
)
PATIENCE_SECONDS = 120
NOTE = "not before Friday"

GPT = "gpt-4o-mini"
CLAUDE = "claude-haiku-4-5"

RAISES = {
    "litellm": ("litellm",),
    "langchain_openai": ("langchain_openai", "openai"),
    "pydantic_ai": ("pydantic_ai",),
    "agex": ("agex",),
    "agents": ("openai",),
    "smolagents": ("smolagents",),
}
"""The packages whose exceptions reach the user of each."""

LITELLM = """
import litellm
r = litellm.completion(model=PREFIX + MODEL, max_tokens=20, messages=[{"role": "user", "content": "hello"}])
print("GOT", r.choices[0].message.content)
"""
LITELLM_STREAM = """
import litellm
r = litellm.completion(model=PREFIX + MODEL, max_tokens=20, stream=True, messages=[{"role": "user", "content": "hello"}])
print("GOT", "".join(c.choices[0].delta.content or "" for c in r))
"""
LANGCHAIN = """
from langchain_openai import ChatOpenAI
print("GOT", ChatOpenAI(model=MODEL, max_tokens=20).invoke("hello").content)
"""
LANGCHAIN_STREAM = """
from langchain_openai import ChatOpenAI
print("GOT", "".join(c.content for c in ChatOpenAI(model=MODEL, max_tokens=20).stream("hello")))
"""
PYDANTIC_AI = """
from pydantic_ai import Agent
print("GOT", Agent(PREFIX + MODEL, model_settings={"max_tokens": 20}).run_sync("hello").output)
"""
PYDANTIC_AI_STREAM = """
import asyncio
from pydantic_ai import Agent
async def main():
    async with Agent(PREFIX + MODEL, model_settings={"max_tokens": 20}).run_stream("hello") as r:
        print("GOT", await r.get_output())
asyncio.run(main())
"""
AGEX = """
from agex import Agent
@Agent(PREFIX + MODEL).task
def add(left: int, right: int) -> int:
    '''The sum of both numbers.'''
    ...
print("GOT", add(20, 22))
"""
AGEX_SESSION = """
from agex import Agent
from nontainer import Store
out = Agent(PREFIX + MODEL).session(Store(memory=True).open("demo")).say("hello")
print(*(("GOT", out.text) if out.status == "completed" else ("RAISED agex", out.status, out.message)))
"""
OPENAI_AGENTS = """
from agents import Agent, Runner
print("GOT", Runner.run_sync(Agent(name="helper", model=MODEL), "hello").final_output)
"""
OPENAI_AGENTS_STREAM = """
import asyncio
from agents import Agent, Runner
async def main():
    r = Runner.run_streamed(Agent(name="helper", model=MODEL), "hello")
    async for event in r.stream_events(): pass
    print("GOT", r.final_output)
asyncio.run(main())
"""
SMOLAGENTS = """
from smolagents import CodeAgent, OpenAIModel
agent = CodeAgent(tools=[], model=OpenAIModel(model_id=MODEL, max_tokens=60), max_steps=2, verbosity_level=0)
print("GOT", agent.run("What is 20 + 22?"))
"""


def run_python(code: str) -> str:
    """What makes the simulated provider call agex's tool."""
    return f"tool=run_python args={quote(json.dumps({'code': code}))}"


@dataclass(frozen=True)
class Program:
    """What a user of a framework writes.

    Attributes:
        package: What to import to see whether the framework is there.
        prefix: What goes before the model's name.
        orders: What the provider is told to answer, a call each.
        says: What the program prints in the end.
    """

    package: str
    code: str
    prefix: str = ""
    model: str = GPT
    orders: tuple[str, ...] = ("tokens=5",)
    says: str = "the quick brown fox jumps"

    @property
    def text(self) -> str:
        """The program, printing its own exception's type and text."""
        body = "\n".join("    " + line for line in self.code.strip().splitlines())
        return (
            f"MODEL, PREFIX = {self.model!r}, {self.prefix!r}\ntry:\n{body}\n"
            "except BaseException as e:\n"
            "    print('RAISED', type(e).__module__.split('.')[0], type(e).__name__,"
            " ' '.join(str(e).split()))\n"
        )


# The code of agex's task runs between the first call and the second.
IN_TWO_TURNS = (run_python("total = left + right"), run_python("task.success(left + right)"))
IN_CODE = (f"text={quote('<code>final_answer(20 + 22)</code>')}",)

PROGRAMS = {
    "litellm openai": Program("litellm", LITELLM, "openai/"),
    "litellm openai stream": Program("litellm", LITELLM_STREAM, "openai/"),
    "litellm anthropic": Program("litellm", LITELLM, "anthropic/", CLAUDE),
    "litellm anthropic stream": Program("litellm", LITELLM_STREAM, "anthropic/", CLAUDE),
    "langchain-openai": Program("langchain_openai", LANGCHAIN),
    "langchain-openai stream": Program("langchain_openai", LANGCHAIN_STREAM),
    "pydantic-ai openai": Program("pydantic_ai", PYDANTIC_AI, "openai:"),
    "pydantic-ai openai-chat": Program("pydantic_ai", PYDANTIC_AI, "openai-chat:"),
    "pydantic-ai openai stream": Program("pydantic_ai", PYDANTIC_AI_STREAM, "openai:"),
    "pydantic-ai anthropic": Program("pydantic_ai", PYDANTIC_AI, "anthropic:", CLAUDE),
    "agex openai": Program("agex", AGEX, "openai:", GPT, IN_TWO_TURNS, "42"),
    "agex openai-chat": Program("agex", AGEX, "openai-chat:", GPT, IN_TWO_TURNS, "42"),
    "agex anthropic": Program("agex", AGEX, "anthropic:", CLAUDE, IN_TWO_TURNS, "42"),
    "agex session": Program("agex", AGEX_SESSION, "openai:"),
    "openai-agents": Program("agents", OPENAI_AGENTS),
    "openai-agents stream": Program("agents", OPENAI_AGENTS_STREAM),
    "smolagents": Program("smolagents", SMOLAGENTS, orders=IN_CODE, says="42"),
}

LIMITS: dict[str, dict[str, Any]] = {
    "model": {"models": ("another",)},
    "budget": {"budget_nano_usd": {Window.DAY: 1}},
    "paused": {},
    "rejected": {},
}
SENTENCES = {
    "model": "not among the models",
    "budget": "budget_usd.day",
    "paused": "paused until the operator resumes it",
    "rejected": NOTE,
}


@dataclass(slots=True)
class Office:
    """One proxy for all programs of this file, and an agent of its own for each run of one."""

    world: World
    proxy: Proxy
    numbers: Iterator[int]

    def hire(self, prefix: str = "free", **limits: Any) -> str:
        """A new agent; calls of those whose name begins with ``held`` wait for a person."""
        name = f"{prefix}-{next(self.numbers)}"
        self.world.agent(name, **limits)
        return name

    def start(self, program: Program, agent: str) -> subprocess.Popen[str]:
        """Run a program as an agent, with nothing but the environment."""
        need(program.package)
        for words in program.orders:
            self.world.lab.order(words)
        return subprocess.Popen(
            [PYTHON, "-c", program.text],
            env=self.world.environment(self.proxy, agent),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def calls(self, agent: str) -> list[dict[str, Any]]:
        """The agent's model calls on the books; telemetry is none."""
        ledger = self.world.ledger()
        rows = ledger.rows(
            "select state, stream, basis, outcome, cost_nano_usd from calls"
            " where agent = ? and operation != 'telemetry' order by at_ns",
            (agent,),
        )
        found = [dict(row) for row in rows]
        ledger.close()
        return found


@pytest.fixture(scope="module")
def shared_office(tmp_path_factory: pytest.TempPathFactory, session_lab: Lab) -> Iterator[Office]:
    with ExitStack() as stack:
        world = World(tmp_path_factory.mktemp("office"), session_lab, stack)
        # Telemetry names no model, so nobody is asked about it.
        ask = {"name": "ask", "call": {"agent": "held-*", "model": "*"}, "hold": {}}
        # What frameworks fetch besides (price lists, usage statistics) is no part of these tests.
        world.policy({"rules": [ask], "other_hosts": {"default": "deny"}})
        yield Office(world, world.proxy(), itertools.count(1))


@pytest.fixture
def office(shared_office: Office) -> Office:
    shared_office.world.lab.reset()
    return shared_office


@cache
def is_there(package: str) -> bool:
    look = f"import importlib.util, sys; sys.exit(importlib.util.find_spec({package!r}) is None)"
    return subprocess.run([PYTHON, "-c", look], check=False).returncode == 0


def need(package: str) -> None:
    """Skip, visibly, when the framework is not installed."""
    if not is_there(package):
        pytest.skip(f"{PYTHON} has no {package}. Get it: {INSTALL}")


def said(process: subprocess.Popen[str], word: str) -> str:
    """The line that begins with ``word`` and what follows it in what the program printed."""
    out, errors = process.communicate(timeout=PATIENCE_SECONDS)
    assert f"{word} " in out, out + errors
    return out[out.index(f"{word} ") :].strip()


def every(*names: str) -> pytest.MarkDecorator:
    """All programs, or those named."""
    return pytest.mark.parametrize("name", names or [pytest.param(n, id=n) for n in PROGRAMS])


@every()
def test_framework_works_unchanged_and_each_call_is_settled_as_measured(
    office: Office, name: str
) -> None:
    program, agent = PROGRAMS[name], office.hire()

    answer = said(office.start(program, agent), "GOT")

    assert answer == f"GOT {program.says}"
    calls = office.calls(agent)
    assert len(calls) == len(program.orders)
    assert {(call["state"], call["basis"]) for call in calls} == {("settled", "measured")}
    assert all(call["cost_nano_usd"] > 0 for call in calls)
    assert {call["stream"] for call in calls} == {"stream" in name or "agex" in name}
    assert office.world.books()["open"] == 0


@every()
@pytest.mark.parametrize("cause", LIMITS)
def test_framework_raises_its_own_exception_with_our_sentence_after_one_request(
    office: Office, name: str, cause: str
) -> None:
    program = PROGRAMS[name]
    agent = office.hire("held" if cause == "rejected" else cause, **LIMITS[cause])
    if cause == "paused":
        ledger = office.world.ledger()
        ledger.set_agent_state(agent, "paused", 1, "tester")
        ledger.close()

    process = office.start(program, agent)
    if cause == "rejected":
        [approval] = office.world.waits_for_approval(seconds=PATIENCE_SECONDS)
        office.world.verdict(approval, "rejected", NOTE)

    raised = said(process, "RAISED")
    assert raised.split()[1] in RAISES[program.package]
    assert SENTENCES[cause] in raised
    # Who is paused is turned away at the door, which keeps no calls.
    assert len(office.calls(agent)) == (0 if cause == "paused" else 1)
    assert [call for call in office.world.lab.calls() if call["billed"]] == []
    assert office.world.books()["open"] == 0


@every("litellm openai stream", "langchain-openai", "pydantic-ai anthropic", "agex openai")
def test_framework_waits_for_a_person_and_goes_on(office: Office, name: str) -> None:
    program, agent = PROGRAMS[name], office.hire("held")

    process = office.start(program, agent)
    for _ in program.orders:
        [approval] = office.world.waits_for_approval(seconds=PATIENCE_SECONDS)
        office.world.verdict(approval)

    assert said(process, "GOT") == f"GOT {program.says}"
    assert [call["state"] for call in office.calls(agent)] == ["settled"] * len(program.orders)


@every("agex openai", "agex openai-chat", "agex anthropic")
def test_agex_task_that_runs_out_of_its_quota_half_way_fails_with_our_sentence(
    office: Office, name: str
) -> None:
    agent = office.hire(requests={Window.DAY: 1})

    raised = said(office.start(PROGRAMS[name], agent), "RAISED")

    assert raised.startswith("RAISED agex TaskFailed")
    assert "requests.day" in raised
    assert [call["state"] for call in office.calls(agent)] == ["settled", "refused"]


@every("agex openai", "agex openai-chat", "agex anthropic")
def test_agex_task_whose_tools_the_agent_may_not_offer_fails_with_our_sentence(
    office: Office, name: str
) -> None:
    agent = office.hire(tools=("terminal", "file_write", "file_edit"))

    raised = said(office.start(PROGRAMS[name], agent), "RAISED")

    assert raised.startswith("RAISED agex TaskFailed")
    assert "run_python" in raised
    assert len(office.calls(agent)) == 1
