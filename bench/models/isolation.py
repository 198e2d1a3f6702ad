"""Measure what it costs to prepare a large image in a process instead of a thread: `python -m bench.models.isolation`.

Both ways run in turn, in one process of this command. The image is the cat that ships, scaled up, with added grain.
"""

import asyncio
import io
import math
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np
from PIL import Image

from service.core.memory import MemoryAccount, MemoryBudget
from service.core.stage import ThreadStage
from service.decoding.decoder_pool import DecoderPool
from service.decoding.preparation import Preparation, Prepared
from service.decoding.stages import prepare_opened
from twins.card import Card, Label, Normalisation
from twins.images.decode import Limits
from twins.preprocessing import centre_crop, resize_keep_ratio
from twins.tasks import TASKS

CAT = Path(__file__).parents[2] / "examples" / "cat.jpg"
SIZE = (6000, 4000)
GRAIN = 4.0  # standard deviation, of values from 0 to 255
ROUNDS = 15
LIMITS = Limits(max_bytes=2**28)
FILES = {"JPEG": {"quality": 90}, "PNG": {"compress_level": 1}}
GEOMETRIES = {"classify": centre_crop(224, 0.9), "segment": resize_keep_ratio(512)}
CASES = {"classify": ("classify", False), "segment": ("segment", False), "overlay": ("segment", True)}


def main() -> None:
    """Print the times of each file and case."""
    print(f"{'file':6} {'answer':10} {'thread: best, median ms':>25} {'process: best, median ms':>26}")
    asyncio.run(measure())


async def measure() -> None:
    """Measure each file and case."""
    thread, pool = ThreadStage("thread", 1), DecoderPool(processes=1, timeout_s=60, limits=LIMITS)
    source = grainy()
    for kind, options in FILES.items():
        file = io.BytesIO()
        source.save(file, kind, **options)
        data = file.getvalue()
        for case, (task, shown) in CASES.items():
            how = preparation(task, shown=shown)
            in_thread, in_process = [], []
            for _ in range(ROUNDS):
                in_thread.append(await timed(partial(thread.run, prepare, data, how)))
                in_process.append(await timed(partial(pool.run, data, how, held_pixels=math.prod(SIZE))))
            print(f"{kind:6} {case:10} {best_and_median(in_thread):>25} {best_and_median(in_process):>26}")
    pool.end_idle()


async def timed(run: Callable[[MemoryAccount], Awaitable[object]]) -> float:
    """Return how long one image takes, in milliseconds."""
    began = time.perf_counter()
    with MemoryBudget(2**31).open() as memory:
        await run(memory)
    return (time.perf_counter() - began) * 1000


def best_and_median(times: list[float]) -> str:
    """Return two figures."""
    return f"{min(times):.0f}, {median(times):.0f}"


def prepare(data: bytes, how: Preparation, memory: MemoryAccount) -> Prepared:
    """Return the sample of an image, in a thread."""
    with memory.in_thread():
        return prepare_opened(how.open(data), how, memory)


def preparation(task: str, *, shown: bool) -> Preparation:
    """Return how images are prepared for a model with the usual geometry of its task."""
    labels, scale = (Label("a"), Label("b")), Normalisation()
    card = Card("m", TASKS[task].model_task, "none", labels, GEOMETRIES[task], scale, False, "none", "none")  # noqa: FBT003
    return Preparation(task, card, TASKS[task].options(), LIMITS, exif_orientation=True, reduces=True, shown=shown)


def grainy() -> Image.Image:
    """Return an image of 24 megapixels with grain, as a camera makes it."""
    smooth = np.asarray(Image.open(CAT).convert("RGB").resize(SIZE, Image.Resampling.BICUBIC))
    grain = np.random.default_rng(0).normal(0, GRAIN, (*smooth.shape[:2], 1))
    return Image.fromarray(np.clip(smooth + grain, 0, 255).astype(np.uint8))


if __name__ == "__main__":
    main()
