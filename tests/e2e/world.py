"""A whole installation for one test: simulator, state folder, proxies, agents, clients."""

from __future__ import annotations

import base64
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from e2e.zygote import Forked, forked
from tollkeeper.core import identity
from tollkeeper.core.snapshot import AgentRecord, TokenRecord
from tollkeeper.domain import Limits, Verdict
from tollkeeper.home import Home
from tollkeeper.launch.bundle import write_bundle
from tollkeeper.launch.ca import ensure_ca
from tollkeeper.launch.environment import environment
from tollkeeper.ledger.books import verify
from tollkeeper.ledger.sqlite import SqliteLedger
from tollkeeper.simulator import wiring
from tollkeeper.simulator.lab import Lab

SETTLING_SECONDS = 0.5
"""How long a settlement may take that lingers behind its answer, on a busy machine."""

UNDER_WAY = "select 1 from calls where state = 'forwarded' limit 1"

CLIENT = Path(__file__).with_name("raw_client.py")

PATIENCE_SECONDS = 90.0
"""How long anything may take that takes a moment on an idle machine; only a failure waits it out."""

SERVE = (
    "import tollkeeper.proxy.writer as w; w.PATIENCE_NS = 60 * 10**9;"  # others write slowly, too
    "from tollkeeper.home import Home; from tollkeeper.proxy.serve import serve;"
    "from tollkeeper.proxy.addresses import Address;"
    "import sys, logging; logging.basicConfig(level=logging.INFO);"
    "sys.exit(serve(Home.default(), port=0, announce=lambda at: print(at.port, flush=True)))"
)


@dataclass(slots=True)
class Proxy:
    """A proxy process of its own."""

    process: Forked | subprocess.Popen[str]
    port: int
    log: Path

    def kill(self) -> None:
        """As a crash would end it."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self) -> None:
        """As ``down`` ends it."""
        self.process.terminate()
        self.process.wait(timeout=PATIENCE_SECONDS)


@dataclass(slots=True)
class World:
    """Everything that one user has, in a folder of its own."""

    folder: Path
    lab: Lab
    stack: ExitStack
    home: Home = field(init=False)
    tokens: dict[str, str] = field(default_factory=dict)
    proxies: list[Proxy] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.home = Home(self.folder / "home")
        self.home.make()
        ensure_ca(self.home.ca)
        write_bundle(self.home.ca_certificate, self.home.bundle)
        self.policy({})

    def policy(self, parts: dict[str, Any]) -> None:
        """Write the policy: the built-in providers lead to the simulator."""
        names = (*wiring.BUILT_IN, "groq")
        wired = wiring.providers(self.lab.port, self.lab.certificate, names)
        for name, more in parts.pop("providers", {}).items():
            wired[name] = wired.get(name, {}) | more
        text = yaml.safe_dump(
            {"version": 1, "providers": wired, **parts}, sort_keys=False, allow_unicode=True
        )
        temporary = self.home.root / "policy.new"
        temporary.write_text(text)
        temporary.replace(self.home.root / "policy.yaml")

    def ledger(self) -> SqliteLedger:
        """The books, for looking: what was answered is settled by then, unless it goes on."""
        ledger = SqliteLedger(self.home.database, operator_key=self.home.read_operator_key())
        deadline = time.monotonic() + SETTLING_SECONDS
        while time.monotonic() < deadline and any(ledger.rows(UNDER_WAY)):
            time.sleep(0.005)
        return ledger

    def agent(self, name: str = "atlas", parent: str | None = None, **limits: Any) -> str:
        """Make an agent; its token."""
        ledger, now_ns = self.ledger(), time.time_ns()
        ledger.create_agent(
            AgentRecord(
                name=name, state="active", parent=parent, limits=Limits(**limits), created_ns=now_ns
            ),
            by="tester",
        )
        token = identity.new_token()
        ledger.add_token(
            TokenRecord(id=f"token-{name}", agent=name, created_ns=now_ns),
            identity.token_sha256(token),
            by="tester",
        )
        ledger.close()
        self.tokens[name] = token
        return token

    def proxy(self, options: str = "", **environment: str) -> Proxy:
        """Start a proxy on this installation; ``options`` are more arguments of ``serve``."""
        log = self.folder / f"proxy-{len(self.proxies)}.log"
        program = SERVE.replace("port=0", f"port=0{options and ', '}{options}")
        with log.open("w") as errors:
            process = forked(
                program,
                os.environ | {"TOLLKEEPER_HOME": str(self.home.root)} | environment,
                errors.fileno(),
            )
        line = process.stdout.readline()
        assert line, log.read_text()
        started = Proxy(process, int(line), log)
        self.proxies.append(started)
        self.stack.callback(lambda: process.poll() is not None or started.kill())
        return started

    def url(self, proxy: Proxy, agent: str = "atlas", label: str = "") -> str:
        """The proxy URL of an agent."""
        return f"http://{agent}{label}:{self.tokens[agent]}@127.0.0.1:{proxy.port}"

    def environment(self, proxy: Proxy, agent: str = "atlas", **more: str) -> dict[str, str]:
        """What a child process gets."""
        base = {"PATH": os.environ["PATH"], "HOME": str(self.folder)}
        keys = {
            "OPENAI_API_KEY": "sk-agent",
            "ANTHROPIC_API_KEY": "sk-ant-agent",
            "GEMINI_API_KEY": "g-agent",
        }
        return environment(
            base | keys | more,
            proxy_url=self.url(proxy, agent),
            ca_certificate=self.home.ca_certificate,
            bundle=self.home.bundle,
            scrub=(),
        )

    def python(
        self, code: str, proxy: Proxy, agent: str = "atlas", *, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run a program as an agent with nothing but the environment."""
        done = subprocess.run(
            [sys.executable, "-c", code],
            env=self.environment(proxy, agent),
            capture_output=True,
            text=True,
            timeout=2 * PATIENCE_SECONDS,
            check=False,
        )
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done

    def start_clients(
        self, proxy: Proxy, calls: int, *, agent: str = "atlas", **plan: Any
    ) -> subprocess.Popen[str]:
        """A process that makes so many calls at once; see ``raw_client.py``."""
        full = {
            "proxy": proxy.port,
            "auth": f"{agent}:{self.tokens[agent]}",
            "calls": calls,
            "ca": str(self.home.ca_certificate),
            **plan,
        }
        plan_file = self.folder / f"plan-{len(list(self.folder.glob('plan-*')))}.json"
        plan_file.write_text(json.dumps(full))
        return subprocess.Popen(
            [sys.executable, str(CLIENT), str(plan_file)], stdout=subprocess.PIPE, text=True
        )

    def calls(self, proxy: Proxy, calls: int = 1, **plan: Any) -> list[dict[str, Any]]:
        """Make calls at once and wait for their answers: ``status``, ``headers``, ``body``."""
        return answers(self.start_clients(proxy, calls, **plan))

    def verdict(self, approval: str, answer: str = "approved", note: str = "") -> None:
        """Answer as the operator does."""
        ledger = self.ledger()
        found = ledger.approval(approval)
        at_ns = time.time_ns()
        seal = identity.seal(
            self.home.read_operator_key(), found.id, found.digest, answer, "tester", note, at_ns
        )
        ledger.give_verdict(Verdict(found.id, answer, "tester", note, at_ns, seal))
        ledger.close()

    def waits_for_approval(self, count: int = 1, seconds: float = PATIENCE_SECONDS) -> list[str]:
        """The ids of the open approvals, once there are so many."""
        return wait(lambda: self._open_approvals(count), seconds)

    def _open_approvals(self, count: int) -> list[str] | None:
        ledger = self.ledger()
        found = [approval.id for approval in ledger.approvals()]
        ledger.close()
        return found if len(found) >= count else None

    def books(self) -> dict[str, int]:
        """Money and calls on the books, and that they are in order."""
        ledger = self.ledger()
        assert verify(ledger) == []
        row = next(
            iter(
                ledger.rows(
                    "select coalesce(sum(cost_nano_usd), 0) as spent, count(*) as calls from calls"
                    " where state = 'settled'"
                )
            )
        )
        still = next(
            iter(
                ledger.rows("select count(*) as n from calls where state in ('held', 'forwarded')")
            )
        )
        ledger.close()
        return {"spent": row["spent"], "calls": row["calls"], "open": still["n"]}


def answers(process: subprocess.Popen[str]) -> list[dict[str, Any]]:
    """What a client process saw."""
    out, _ = process.communicate(timeout=3 * PATIENCE_SECONDS)
    assert process.returncode == 0
    seen: list[dict[str, Any]] = [json.loads(line) for line in out.splitlines()]
    for one in seen:
        one["body"] = base64.b64decode(one.pop("body_base64"))
    return seen


def unused_port() -> int:
    """One below those that the kernel hands out, so that nobody is given it before it is used."""
    for number in range(11_000 + os.getpid() % 20_000, 32_000):
        with suppress(OSError), socket.create_server(("127.0.0.1", number)):
            return number
    raise AssertionError("No port is free.")


def wait(look: Any, seconds: float = PATIENCE_SECONDS) -> Any:
    """Look again until something is there."""
    deadline = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)
    return found


def trust(path: Path) -> ssl.SSLContext:
    """A verifying client context with one root."""
    return ssl.create_default_context(cafile=str(path))


def statuses(seen: Sequence[dict[str, Any]]) -> dict[int, int]:
    """How many answers of each status."""
    counted: dict[int, int] = {}
    for one in seen:
        counted[one["status"]] = counted.get(one["status"], 0) + 1
    return counted
