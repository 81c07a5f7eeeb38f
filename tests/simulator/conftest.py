"""The simulator, and clients that reach it under the providers' own names."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator

import httpx2
import pytest

from tollkeeper.simulator.lab import Lab, in_thread


class ToLab(httpx2.HTTPTransport):
    """Dials the simulator whatever the name; name, SNI and certificate check stay."""

    def __init__(self, lab: Lab) -> None:
        context = ssl.create_default_context(cafile=lab.certificate)
        context.verify_flags |= ssl.VERIFY_X509_STRICT
        super().__init__(verify=context)
        self._port = lab.port

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        request.extensions["sni_hostname"] = request.url.host
        request.url = request.url.copy_with(host="127.0.0.1", port=self._port)
        return super().handle_request(request)


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with in_thread(tmp_path_factory.mktemp("lab")) as lab:
        yield lab


@pytest.fixture
def lab(running: Lab) -> Lab:
    running.reset()
    return running


@pytest.fixture
def http(lab: Lab) -> Iterator[httpx2.Client]:
    with httpx2.Client(transport=ToLab(lab), timeout=90) as client:
        yield client


@pytest.fixture
def chat(http: httpx2.Client) -> Callable[..., httpx2.Response]:
    """Posts one OpenAI chat call with this prompt."""

    def post(prompt: str, **members: object) -> httpx2.Response:
        body = {"model": "gpt-4o", "messages": [{"role": "user", "content": prompt}], **members}
        return http.post("https://api.openai.com/v1/chat/completions", json=body)

    return post
