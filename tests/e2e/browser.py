"""A headless browser, spoken to in the W3C WebDriver protocol; nothing but chromedriver is needed.

Source: https://www.w3.org/TR/webdriver2/
"""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DRIVER = shutil.which("chromedriver")
CHROMIUM = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))),
    None,
)  # fmt: skip

SWITCHES = [
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
    "--window-size=1400,900", "--force-color-profile=srgb", "--no-proxy-server",
]  # fmt: skip


@dataclass(slots=True)
class Browser:
    """One tab."""

    address: str
    session: str = ""

    def ask(self, method: str, path: str, data: dict[str, Any] | None = None) -> Any:
        """One command of the protocol."""
        body = None if data is None else json.dumps(data).encode()
        request = urllib.request.Request(
            f"{self.address}/session{self.session}{path}", body, method=method
        )
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=60) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as error:
            raise AssertionError(error.read().decode()[:500]) from error

    def open(self, url: str) -> None:
        """Go to an address."""
        self.ask("POST", "/url", {"url": url})

    def run(self, script: str, *arguments: Any) -> Any:
        """What a script in the page returns."""
        return self.ask("POST", "/execute/sync", {"script": script, "args": list(arguments)})

    def text(self, selector: str = "body") -> str:
        """What a person reads there; empty when there is nothing."""
        return str(
            self.run("return document.querySelector(arguments[0])?.innerText ?? ''", selector)
        )

    def reads(self, wanted: str, selector: str = "body", seconds: float = 20) -> str:
        """Wait until a text stands there."""
        deadline = time.monotonic() + seconds
        while wanted not in (text := self.text(selector)):
            assert time.monotonic() < deadline, f"{wanted!r} never stood in: {text}"
            time.sleep(0.05)
        return text

    def element(self, selector: str) -> str:
        """An element's path in the protocol."""
        found = self.ask("POST", "/element", {"using": "css selector", "value": selector})
        return f"/element/{next(iter(found.values()))}"

    def click(self, selector: str) -> None:
        """As with a mouse."""
        self.ask("POST", f"{self.element(selector)}/click", {})

    def type(self, selector: str, text: str) -> None:
        """As on a keyboard."""
        self.ask("POST", f"{self.element(selector)}/value", {"text": text})

    def picture(self, path: Path) -> None:
        """What a person sees."""
        path.write_bytes(base64.b64decode(self.ask("GET", "/screenshot")))


@contextmanager
def browser(folder: Path) -> Iterator[Browser]:
    """A fresh browser without a past."""
    assert DRIVER is not None
    log = (folder / "chromedriver.log").open("w+")
    driver = subprocess.Popen([DRIVER, "--port=0"], stdout=subprocess.PIPE, stderr=log, text=True)
    try:
        assert driver.stdout is not None
        port = next(
            line.rstrip(".\n").rpartition(" ")[2]
            for line in driver.stdout
            if "successfully on port" in line
        )
        tab = Browser(f"http://127.0.0.1:{port}")
        options = {"args": [*SWITCHES, f"--user-data-dir={folder / 'profile'}"], "binary": CHROMIUM}
        wanted = {"alwaysMatch": {"browserName": "chrome", "goog:chromeOptions": options}}
        tab.session = "/" + tab.ask("POST", "", {"capabilities": wanted})["sessionId"]
        try:
            yield tab
        finally:
            tab.ask("DELETE", "")
    finally:
        driver.terminate()
        driver.wait(10)
        log.close()
