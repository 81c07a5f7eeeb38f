"""The command line in this process, in a state folder of its own, and calls judged for real."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tollkeeper.core.decide import CallCase, resolve
from tollkeeper.core.identity import day_run
from tollkeeper.core.pricing import PriceBook
from tollkeeper.core.snapshot import TokenRecord
from tollkeeper.domain import (
    NS_PER_SECOND,
    Admission,
    Basis,
    Effect,
    Outcome,
    Policy,
    Principal,
    Settlement,
    Usage,
)
from tollkeeper.home import Home
from tollkeeper.ledger.sqlite import SqliteLedger
from tollkeeper.policy.examples import call_of
from tollkeeper.policy.given import GivenCall
from tollkeeper.policy.load import load
from tollkeeper.proxy.processes import owner_name
from tollkeeper.proxy.settling import by_payer
from tollkeeper.simulator.lab import Lab, in_thread
from tollkeeper.simulator.wiring import providers
from tollkeeper_cli.main import main

POLICY = """\
version: 1
tiers:
  - {name: cheap, models: [gpt-4o-mini]}
  - {name: standard, models: [gpt-4o]}
teams:
  research: {budget_usd: {month: 200}}
agents:
  default: {budget_usd: {day: 10}, max_output_tokens: 4096}
  atlas: {team: research, budget_usd: {total: 5, day: 1, run: 0.50}, models: [gpt-4o, gpt-4o-mini]}
rules:
  - name: dear
    call: {prompt: {matches: "hold me"}}
    hold: {}
examples:
  - given: {agent: atlas, call: {model: gpt-4o, prompt: hello, max_output_tokens: 10}}
    expect: {effect: allow}
"""


@dataclass(frozen=True, slots=True)
class Done:
    """What one command line came to."""

    code: int
    out: str
    err: str

    @property
    def data(self) -> Any:
        return json.loads(self.out)

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()


type Cli = Callable[..., Done]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    monkeypatch.setenv("TOLLKEEPER_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("NO_COLOR", "1")
    for name in ("HTTPS_PROXY", "https_proxy", "SSL_CERT_FILE"):
        monkeypatch.delenv(name, raising=False)
    return Home.default()


@pytest.fixture
def cli(home: Home, capsys: pytest.CaptureFixture[str]) -> Cli:
    def call(*arguments: str) -> Done:
        capsys.readouterr()
        code = main(arguments)
        out, err = capsys.readouterr()
        return Done(code, out, err)

    return call


@pytest.fixture
def made(home: Home) -> Home:
    """A state folder with the policy above; no CA, which takes longer."""
    home.make()
    home.policy.write_text(POLICY)
    return home


@dataclass(slots=True)
class Books:
    """A ledger to which calls can be put as the proxy puts them."""

    ledger: SqliteLedger
    policy: Policy
    prices: PriceBook

    def call(
        self,
        prompt: str = "hello",
        *,
        agent: str = "atlas",
        model: str = "gpt-4o",
        run: str | None = None,
        body: bytes | None = None,
        settle: bool = True,
        seconds_ago: int = 0,
        plan: bool = False,
    ) -> Admission:
        """One call, settled at 100 tokens in and 300 out when it is allowed."""
        now_ns = time.time_ns() - seconds_ago * NS_PER_SECOND
        token = TokenRecord(f"t_{os.urandom(4).hex()}", agent, now_ns, run=run)
        self.ledger.add_token(token, os.urandom(32).hex(), by="tester")
        run_id = run or day_run(agent, now_ns, self.policy.timezone)
        principal = Principal(agent, token.id, run_id, run_is_minted=run is not None)
        place = "chatgpt" if plan else None
        given = GivenCall(model=model, prompt=prompt, max_output_tokens=500, provider=place)
        call = dataclasses.replace(
            call_of(self.policy, given, self.prices, now_ns),
            approval_digest=hashlib.sha256(prompt.encode()).hexdigest(),
        )
        provider, real = resolve(self.policy, call)
        sheet = self.prices.sheet(provider, real or "", now_ns)
        case = CallCase(call, principal, self.policy, sheet, now_ns)
        if body is None:
            body = json.dumps({"model": model, "prompt": prompt}).encode()
        admission = self.ledger.admit(case, principal, now_ns, body=body)
        if settle and admission.effect is Effect.ALLOW:
            assert sheet is not None
            usage = Usage(input_tokens=100, output_tokens=300)
            cost = sheet.cost_nano_usd(usage)
            done = Settlement(Outcome.COMPLETE, Basis.MEASURED, cost, usage, 200)
            done = by_payer(done, admission.decision, provider, {})
            self.ledger.settle(admission.id, done, now_ns + NS_PER_SECOND)
        return admission

    def hold(self, prompt: str = "hold me", **more: Any) -> str:
        """A call that waits for a person; the approval's id."""
        admission = self.call(prompt, **more)
        assert admission.approval is not None
        return admission.approval.id


@pytest.fixture
def books(made: Home, cli: Cli) -> Iterator[Books]:
    """With the agent atlas."""
    assert cli("agent", "create", "atlas").code == 0
    key = made.read_operator_key()
    ledger = SqliteLedger(made.database, owner=owner_name(), operator_key=key)
    policy = load(made.policy).policy
    yield Books(ledger, policy, PriceBook(policy))
    ledger.close()


@dataclass(frozen=True, slots=True)
class Shell:
    """The command line as processes of their own, as a user's shell starts them."""

    home: Home
    environment: dict[str, str]

    def start(self, *arguments: str, **more: Any) -> subprocess.Popen[str]:
        pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return subprocess.Popen(
            [sys.executable, "-m", "tollkeeper_cli", *arguments],
            stdin=subprocess.DEVNULL, text=True, env=self.environment, **{**pipes, **more},
        )  # fmt: skip

    def run(self, *arguments: str, **more: Any) -> Done:
        process = self.start(*arguments, **more)
        out, err = process.communicate(timeout=90)
        return Done(process.returncode, out, err)


@pytest.fixture
def shell(home: Home) -> Iterator[Shell]:
    """Whatever proxy it starts is stopped at the end."""
    made = Shell(home, dict(os.environ))
    yield made
    if home.process.exists():
        made.run("down")


REAL_KEY = "sk-real-key-of-the-owner"

CALL = """
import json, os, sys, urllib.error, urllib.request
for prompt in sys.argv[1:]:
    body = {"model": "gpt-4o", "max_tokens": 50, "messages": [{"role": "user", "content": prompt}]}
    request = urllib.request.Request(
        "https://api.openai.com/v1/chat/completions", json.dumps(body).encode(),
        {"content-type": "application/json", "authorization": "Bearer " + os.environ["OPENAI_API_KEY"]},
    )
    try:
        answer = json.load(urllib.request.urlopen(request))
        print(answer["choices"][0]["message"]["content"])
    except urllib.error.HTTPError as e:
        print(e.code, json.load(e)["error"]["message"])
"""


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with in_thread(tmp_path / "lab") as lab:
        yield lab


@pytest.fixture
def ready(home: Home, lab: Lab, shell: Shell, monkeypatch: pytest.MonkeyPatch) -> Shell:
    """A policy that leads to the simulator and injects a key; no proxy yet."""
    policy: dict[str, Any] = {
        "version": 1,
        "providers": providers(lab.port, lab.certificate, ["openai"], keys={"openai": "OPENAI_API_KEY"}),
        "agents": {"default": {"budget_usd": {"total": 1}, "max_output_tokens": 100, "key": "injected"}},
        "rules": [
            {"name": "ask-me", "call": {"prompt": {"matches": "hold me"}}, "hold": {}},
            {"name": "never", "call": {"prompt": {"matches": "forbidden"}}, "deny": "Not that."},
        ],
    }  # fmt: skip
    home.make()
    home.policy.write_text(yaml.safe_dump(policy, sort_keys=False))
    lab.expect_keys({"api.openai.com": [REAL_KEY]})
    shell.environment["OPENAI_API_KEY"] = REAL_KEY
    return shell


def python(code: str, *arguments: str) -> list[str]:
    return [sys.executable, "-c", code, *arguments]


def until[T](look: Callable[[], T | None], seconds: float = 60) -> T:
    """What ``look`` finds, as soon as it finds something."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = look()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError("It did not happen in time.")
