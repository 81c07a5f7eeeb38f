"""Images that are billed one by one, with the real SDKs: Imagen, Grok, DALL-E; videos are refused."""

from __future__ import annotations

import pytest

from e2e.test_sdks import program
from e2e.world import World
from tollkeeper.domain import NANO_PER_USD, Window

VERTEX = """
from google import genai
from google.oauth2.credentials import Credentials
c = genai.Client(vertexai=True, project="p-1", location="us-central1", credentials=Credentials("ya29.agent"))
"""
IMAGEN = (
    VERTEX
    + """
r = c.models.generate_images(model=MODEL, prompt="a river", config={"number_of_images": 2})
print("GOT", len(r.generated_images))
"""
)
VEO = (
    VERTEX
    + """
c.models.generate_videos(model=MODEL, prompt="a river")
"""
)
OPENAI = """
import openai
r = openai.OpenAI().images.generate(model=MODEL, prompt="a river", n=2, size="1024x1024")
print("GOT", len(r.data))
"""
GROK = """
import openai
c = openai.OpenAI(base_url="https://api.x.ai/v1")
r = c.images.generate(model=MODEL, prompt="a river", n=2)
print("GOT", len(r.data))
"""

PROGRAMS = [
    pytest.param("imagen-4.0-ultra-generate-001", IMAGEN, 2 * 60, id="imagen"),
    pytest.param("dall-e-2", OPENAI, 2 * 20, id="dall-e"),
    pytest.param("grok-2-image", GROK, 2 * 70, id="grok"),
]


def lab(world: World) -> None:
    """A policy under which these providers' names lead to the simulator too."""
    at = {"connect_to": f"127.0.0.1:{world.lab.port}", "trust": str(world.lab.certificate)}
    world.policy({"providers": {"xai": at, "vertex": at}})


@pytest.mark.parametrize(("model", "code", "thousandths"), PROGRAMS)
def test_images_are_billed_one_by_one(
    world: World, model: str, code: str, thousandths: int
) -> None:
    lab(world)
    world.agent(budget_nano_usd={Window.DAY: NANO_PER_USD})
    proxy = world.proxy()

    done = world.python(program(model, code), proxy)

    assert done.stdout.startswith("GOT 2"), done.stdout + done.stderr
    assert world.books()["spent"] == thousandths * 1_000_000
    [row] = world.ledger().rows("select * from calls")
    assert (row["basis"], row["cost_nano_usd"]) == ("measured", row["worst_nano_usd"])


@pytest.mark.parametrize(("model", "code", "thousandths"), PROGRAMS)
def test_images_over_the_budget_never_leave(
    world: World, model: str, code: str, thousandths: int
) -> None:
    lab(world)
    world.agent(budget_nano_usd={Window.DAY: thousandths * 1_000_000 - 1})
    proxy = world.proxy()

    done = world.python(program(model, code), proxy)

    assert done.stdout.startswith("RAISED "), done.stdout + done.stderr
    assert "budget_usd.day" in done.stdout
    assert world.lab.calls() == []


def test_videos_are_refused_with_what_to_do(world: World) -> None:
    lab(world)
    world.agent()
    proxy = world.proxy()

    done = world.python(program("veo-3.0-generate-001", VEO), proxy)

    assert "billed by the second" in done.stdout, done.stdout + done.stderr
    assert "let the operator make videos" in done.stdout
    assert world.lab.calls() == []
