"""Every client of ``matrix.yaml`` through ``tollkeeper run``: allowed, refused, held and approved.

    python tests/e2e/matrix.py                       # installs what is missing, runs all, a table
    python tests/e2e/matrix.py --only codex --hold 5 --json

Clients are installed from npm and PyPI into ``--cache``, outside of the repository; providers are
simulated, every other host is closed. What is printed is what was seen, whatever it is.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import yaml

from tollkeeper.home import Home
from tollkeeper.simulator import wiring
from tollkeeper.simulator.lab import in_process

TABLE = Path(__file__).with_name("matrix.yaml")
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tollkeeper" / "matrix"
TOLLKEEPER = (sys.executable, "-m", "tollkeeper_cli")
NODE = "node@24"  # the package that ships the runtime, for machines with an older one
ANSWER = "the simulated"
SENTENCE = "Ask Dr. Heather at desk 42 before you do this."
SCENARIOS = ("allowed", "refused", "held")
INSTALL_SECONDS = 900
LONGEST_SECONDS = 150  # beyond the hold; a client that hammers longer is ended
POLICY: dict[str, Any] = {
    "version": 1,
    "other_hosts": {"default": "deny"},
    "rules": [
        {"name": "desk-42", "call": {"prompt": {"matches": "matrix-refused"}}, "deny": SENTENCE},
        {"name": "ask-me", "call": {"prompt": {"matches": "matrix-held"}}, "hold": {}},
    ],
}


@dataclass(frozen=True)
class Seen:
    """What came of one run.

    Attributes:
        verdict: ``works``, ``readable``, ``waits`` or what was wrong.
        said: The end of what the client printed.
    """

    scenario: str
    verdict: str
    code: int | None
    seconds: float
    calls: int
    refused: int
    holds: int
    said: str


@dataclass(frozen=True)
class Row:
    name: str
    version: str
    seen: tuple[Seen, ...]
    trouble: str = ""


# ---------------------------------------------------------------------------------- clients


def install(cache: Path, name: str, wanted: dict[str, Any]) -> Path:
    """The folder of programs of an environment, made at the first call."""
    folder = cache / name
    if "npm" in wanted:
        programs = folder / "node_modules" / ".bin"
        command = ["npm", "install", "--prefix", str(folder), "--no-audit", "--no-fund"]
        steps = [[*command, *wanted["npm"]]]
    else:
        programs = folder / "bin"
        python = wanted.get("python", f"{sys.version_info[0]}.{sys.version_info[1]}")
        uv = shutil.which("uv") or str(Path(sys.executable).with_name("uv"))
        install = [uv, "pip", "install", "--quiet", "--python", str(programs / "python")]
        steps = [
            [uv, "venv", "--quiet", "--clear", "--python", python, str(folder)],
            [*install, *wanted["pypi"]],
        ]
    done = folder / ".installed"
    if not done.exists():
        folder.mkdir(parents=True, exist_ok=True)
        for step in steps:
            subprocess.run(step, env=install_environment(cache), capture_output=True, text=True,
                           stdin=subprocess.DEVNULL, timeout=INSTALL_SECONDS, check=True)  # fmt: skip
        done.touch()
    return programs


def install_environment(cache: Path) -> dict[str, str]:
    """Ours, with the matrix's own Node first: npm takes older clients for an older Node."""
    node = cache / "node" / "node_modules" / "node" / "bin"
    return os.environ | {"PATH": f"{node}:{os.environ['PATH']}"}


def version_of(client: dict[str, Any], programs: Path | None) -> str:
    """As its package says; of what belongs to the system, as it says itself."""
    package = client.get("package")
    if package is None:
        first = subprocess.run([client["command"][0], "--version"], capture_output=True, text=True, check=True)  # fmt: skip
        return first.stdout.split()[1]
    assert programs is not None
    if programs.name == ".bin":
        manifest = programs.parent / package / "package.json"
        return str(json.loads(manifest.read_text())["version"])
    libraries = [str(path) for path in programs.parent.glob("lib/python*/site-packages")]
    return next(iter(metadata.distributions(name=package, path=libraries))).version


def command_of(
    client: dict[str, Any], programs: Path | None, prompt: str, folder: Path
) -> list[str]:
    """What a user would type; a program's text is put beside its packages, where it finds them."""
    if "command" in client:
        return [word.replace("{prompt}", prompt) for word in client["command"]]
    assert programs is not None
    if "python" in client:
        program = folder / "program.py"
        program.write_text(client["python"])
        return [str(programs / "python"), str(program), prompt]
    (folder / "node_modules").symlink_to(programs.parent)
    program = folder / "program.mjs"
    program.write_text(client["node"])
    return [*client.get("runtime", ["node"]), str(program), prompt]


# ------------------------------------------------------------------------------------- runs


class Desk:
    """The operator's side: state folder, proxy, answers."""

    def __init__(self, folder: Path, cache: Path, hold_seconds: float, *options: str) -> None:
        self.cache, self.folder, self.hold_seconds = cache, folder, hold_seconds
        self.options = options
        self.home = Home(folder / "home")

    def operator(self, *words: str) -> Any:
        """A command of the operator, its JSON if it prints some."""
        done = subprocess.run(
            [*TOLLKEEPER, *words], env=os.environ | {"TOLLKEEPER_HOME": str(self.home.root)},
            capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False,
        )  # fmt: skip
        return json.loads(done.stdout) if "--json" in words and done.stdout else done.returncode

    def environment(
        self, client: dict[str, Any], programs: Path | None, home: Path
    ) -> dict[str, str]:
        """What a user of this client has set: a home, a path, a key."""
        node = self.cache / "node" / "node_modules" / "node" / "bin"
        path = ":".join(str(part) for part in (programs, node, os.environ["PATH"]) if part)
        kept = {name: os.environ[name] for name in ("PYTHONPATH", "LANG") if name in os.environ}
        return kept | {
            "PATH": path,
            "HOME": str(home),
            "TERM": "xterm-256color",
            "TOLLKEEPER_HOME": str(self.home.root),
            **({client["key"]: "sk-agent-of-the-matrix"} if "key" in client else {}),
            **client.get("set", {}),
        }

    def run(self, client: dict[str, Any], programs: Path | None, scenario: str) -> Seen:
        """One program once, in a new home."""
        folder = Path(tempfile.mkdtemp(dir=self.folder))
        (folder / "work").mkdir()
        for name, text in client.get("files", {}).items():
            file = folder / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        words = "".join(c if c.isalnum() else "-" for c in client["name"].lower()).strip("-")
        run = f"{words}-{scenario}-{secrets.token_hex(2)}"
        # Equal calls of one agent share an approval, so each client asks in words of its own.
        prompt = f"matrix-{scenario}: say hello to {words}."
        command = command_of(client, programs, prompt, folder)
        said = folder / "said"
        began = time.monotonic()
        with said.open("wb") as out:
            process = subprocess.Popen(
                [*TOLLKEEPER, "run", "--agent", "matrix", "--run", run, *self.options, "--", *command],
                env=self.environment(client, programs, folder), cwd=folder / "work", stdout=out,
                stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, start_new_session=True,
            )  # fmt: skip
            code = self.attend(process, run)
        seconds = time.monotonic() - began
        text = said.read_text(errors="replace")
        shown = self.operator("runs", "show", run, "--json")
        assert isinstance(shown, dict), text
        refused = sum(shown["refused"].values())
        own = [line for line in text.splitlines() if not line.startswith("tollkeeper: ")]
        verdict = judge(scenario, code, "\n".join(own), shown)
        return Seen(scenario, verdict, code, round(seconds, 1), len(shown["calls"]), refused,
                    shown["holds"], "\n".join(own)[-2000:])  # fmt: skip

    def attend(self, process: subprocess.Popen[bytes], run: str) -> int | None:
        """Wait for its end, approving what it holds after a while; None when it had to be ended."""
        held_since: dict[str, float] = {}
        ends = time.monotonic() + self.hold_seconds + LONGEST_SECONDS
        while time.monotonic() < ends:
            try:
                return process.wait(timeout=0.5)
            except subprocess.TimeoutExpired:
                pass
            now = time.monotonic()
            for approval in self.operator("approval", "list", "--json"):
                if approval["run"] == run:
                    since = held_since.setdefault(approval["id"], now)
                    if now - since >= self.hold_seconds:
                        self.operator("approve", approval["id"])
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        return None


def judge(scenario: str, code: int | None, text: str, shown: dict[str, Any]) -> str:
    """In a word, what its user got."""
    flat = " ".join(text.split())
    if not shown["calls"]:
        return "bypasses the proxy"
    if code is None:
        return "hangs"
    match scenario:
        case "refused":
            return "readable" if SENTENCE in flat else "reason lost"
        case "held" if shown["holds"] == 0:
            return "not held"
    good = {"allowed": "works", "held": "waits"}[scenario]
    return good if code == 0 and ANSWER in flat else "fails"


# ------------------------------------------------------------------------------------ tables


def row_of(desk: Desk, client: dict[str, Any], environments: dict[str, Any]) -> Row:
    """Everything about one client."""
    programs = None
    try:
        if "in" in client:
            programs = install(desk.cache, client["in"], environments[client["in"]])
        version = version_of(client, programs)
    except (subprocess.SubprocessError, OSError, StopIteration) as e:
        return Row(client["name"], "-", (), f"not installed: {type(e).__name__}")
    seen = []
    for scenario in SCENARIOS:
        seen.append(desk.run(client, programs, scenario))
        last = seen[-1]
        print(f"{client['name']}: {scenario}: {last.verdict} ({last.seconds} s)", file=sys.stderr)
    return Row(client["name"], version, tuple(seen))


def markdown(rows: list[Row]) -> Iterator[str]:
    """The table of the README."""
    yield "| client | version | allowed | refused | held |"
    yield "|---|---|---|---|---|"
    for row in rows:
        cells = [cell(seen) for seen in row.seen] or [row.trouble, "", ""]
        yield f"| {' | '.join((row.name, row.version, *cells))} |"


def cell(seen: Seen) -> str:
    """The verdict, how long it took, and how often it asked when more than once."""
    parts = [seen.verdict, f"{seen.seconds:.0f} s"]
    if seen.scenario == "refused" and seen.refused > 1:
        parts.append(f"{seen.refused} calls")
    return ", ".join(parts)


@contextmanager
def desk_of(arguments: argparse.Namespace) -> Iterator[Desk]:
    """A state folder and a proxy in front of simulated providers, gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="tollkeeper-matrix-"))
    with in_process(folder / "lab") as lab:
        options = ["--sandbox"] if arguments.sandbox else []
        desk = Desk(folder, arguments.cache, arguments.hold, *options)
        desk.home.make()
        wired = wiring.providers(lab.port, lab.certificate)
        desk.home.policy.write_text(yaml.safe_dump({**POLICY, "providers": wired}))
        assert desk.operator("init") == 0
        assert desk.operator("up", "--detach", "--port", "0") == 0
        try:
            yield desk
        finally:
            desk.operator("down")
            if arguments.keep:
                print(f"kept: {folder}", file=sys.stderr)
            else:
                shutil.rmtree(folder, ignore_errors=True)


def main() -> int:
    """Run the matrix; exit code 1 when a client that should work did not."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--cache", type=Path, default=CACHE, help="where clients are installed")
    parser.add_argument("--hold", type=float, default=30, metavar="SECONDS")
    parser.add_argument(
        "--only", action="append", metavar="TEXT", help="clients whose name holds it"
    )
    parser.add_argument("--jobs", type=int, default=2, help="clients at once")
    parser.add_argument("--sandbox", action="store_true", help="each client in a sandbox")
    parser.add_argument("--json", action="store_true", help="all that was seen")
    parser.add_argument("--keep", action="store_true", help="keep the state folder")
    arguments = parser.parse_args()
    table = yaml.safe_load(TABLE.read_text())
    clients = [
        client for client in table["clients"]
        if not arguments.only or any(t.lower() in client["name"].lower() for t in arguments.only)
    ]  # fmt: skip
    for name in dict.fromkeys(client["in"] for client in clients if "in" in client):
        with_trouble(arguments.cache, name, table["environments"][name])
    with desk_of(arguments) as desk, ThreadPoolExecutor(arguments.jobs) as pool:
        rows = list(pool.map(lambda client: row_of(desk, client, table["environments"]), clients))
    print(json.dumps([asdict(row) for row in rows], indent=1) if arguments.json
          else "\n".join(markdown(rows)))  # fmt: skip
    return 0 if all(row.seen and row.seen[0].verdict == "works" for row in rows) else 1


def with_trouble(cache: Path, name: str, wanted: dict[str, Any]) -> None:
    """Install one environment before the first of its clients asks, saying what went wrong."""
    try:
        install(cache, "node", {"npm": [NODE]})
        install(cache, name, wanted)
    except subprocess.CalledProcessError as e:
        print(f"{name}: {(e.stderr or '').strip()[-400:]}", file=sys.stderr)
    except (subprocess.TimeoutExpired, OSError) as e:
        print(f"{name}: {e}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
