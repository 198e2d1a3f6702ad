"""An engine over a pool without workers, and images for it."""

import asyncio
import io
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from service.core.call import Call, Caller
from service.core.engine import Engine
from service.core.pool import PoolOutput
from service.errors import ServiceError
from twins.card import Card, Geometry, Label, Normalisation
from twins.tasks.classify import ClassifyOptions
from twins.tasks.sample import Output

SIDE = 8


def card(name: str, *, exif: bool = True) -> Card:
    """Return the card of a model with 8×8 pixels that distinguishes light and dark."""
    labels = (Label("dark"), Label("light"))
    return Card(name, "classify", "none", labels, Geometry(SIDE), Normalisation(), exif, "tests", "none")


CARDS = (card("first"), card("second", exif=False))


class FakePool:
    """Workers that return the brightness of the upper half of an image. They raise `fault` instead if it is set."""

    def __init__(self) -> None:
        self.ready, self.expected, self.recovering = 1, 1, False
        self.problems: dict[str, str] = {}
        self.cards = {card.name: card for card in CARDS}
        self.on_change: list[Callable[[], None]] = []
        self.asked: list[tuple[str, float, int]] = []
        self.fault: Exception | None = None
        self.gate = asyncio.Event()
        self.gate.set()
        self.held = 0  # further samples that are never answered
        self.abandoned = 0

    @property
    def available(self) -> bool:
        return self.ready > 0 or self.recovering

    async def submit(self, model, sample, *, expires, upcoming=0, priority=2) -> PoolOutput:
        self.asked.append((model, expires, upcoming))
        await self.gate.wait()
        if self.held:
            self.held -= 1
            await self.never()
        if self.fault is not None:
            raise self.fault
        light = float(sample.pixels[: SIDE // 2].mean() / 255)
        ids = np.int64([1, 0] if light > 0.5 else [0, 1])
        return PoolOutput(Output((ids, np.float32([max(light, 1 - light), min(light, 1 - light)]))), 0.1, 0.4, 4)

    async def never(self) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            self.abandoned += 1


def wide_png(side: int) -> bytes:
    """Return a black image of this side."""
    file = io.BytesIO()
    Image.new("RGB", (side, side)).save(file, "PNG")
    return file.getvalue()


async def until(condition: Callable) -> None:
    """Let the event loop run until the condition is true."""
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.001)


def png(shade: int = 255, **save) -> bytes:
    """Return an image whose upper half has this shade and whose lower half is black."""
    pixels = np.zeros((SIDE, SIDE, 3), np.uint8)
    pixels[: SIDE // 2] = shade
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", **save)
    return file.getvalue()


def upside_down() -> bytes:
    """Return an image with a light lower half and an orientation that rotates it."""
    exif = Image.Exif()
    exif[0x0112] = 3
    return png(exif=exif)


def caller(timeout_s: float | None = None, key: str | None = None, address: str = "") -> Caller:
    """Return a caller that has just arrived."""
    return Caller("id-1", "http", asyncio.get_running_loop().time(), timeout_s, key, address)


async def predict(engine: Engine, *images: bytes, model=None, timeout_s=None, top_k=5, key=None, address=""):
    """Return the answers of a call."""
    with engine.call(caller(timeout_s, key, address), "infer") as outcome:
        return await engine.predict(Call("classify", images, ClassifyOptions(top_k), model), outcome)


async def best(engine: Engine, image: bytes, model: str | None = None) -> str:
    """Return the best label of one image."""
    (answer,) = await predict(engine, image, model=model)
    return answer.result.predictions[0].label


async def refusal(engine: Engine, *images: bytes, **options) -> ServiceError:
    """Return the error of a rejected call."""
    with pytest.raises(ServiceError) as caught:
        await predict(engine, *images, **options)
    return caught.value
