"""Compare the fast decoding of large JPEG images with the exact one: `python -m bench.large_images TAR…`.

The images of the archives are scaled up so far that the decoder reduces them by 2, 4 and 8, and encoded again, as they
are and with the grain of a camera. Both models that ship get each image decoded both ways. Prints a table, and the same
figures as one JSON object.
"""

import io
import json
import tarfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import click
import numpy as np
from PIL import Image

from service.cli.images import LocalModel, open_model
from twins.images.decode import Limits, decode
from twins.images.input_image import MARGIN, Size
from twins.runtime.plan import Plan
from twins.tasks import TASKS
from twins.tasks.options import Options
from twins.tasks.sample import Output, Sample
from twins.tasks.segment import SegmentOptions
from twins.zoo.models import DEFAULT_MODELS

REDUCTIONS = (2, 4, 8)
ABOVE = 1.02  # how far each image exceeds the size at which the decoder starts to reduce it so far
GRAINS = (0, 4)  # standard deviation of the noise that is added, in steps of 255
QUALITY = 90
LIMITS = Limits(max_bytes=2**31, max_pixels=2**31)
OPTIONS: dict[str, Options] = {"segment": SegmentOptions(size="model")}


@dataclass
class Comparison:
    """The sums over all images of one model, reduction and grain."""

    model: str
    reduction: int
    grain: int
    images: int = 0
    agreement: float = 0.0  # share of the top-1 classes, or of the pixels of the masks, that are equal
    exact_s: float = 0.0  # processor time of decode and preprocess
    fast_s: float = 0.0


@click.command()
@click.argument("archives", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--limit", default=200, show_default=True, help="Use this many images of each archive")
def main(archives: tuple[Path, ...], *, limit: int) -> None:
    """Print the agreement and the times."""
    print("| model | reduced by | grain | images | agreement | exact, ms | fast, ms |\n|---|---|---|---|---|---|---|")
    found = []
    for model in DEFAULT_MODELS.values():
        with open_model(model, None, Plan("cpu"), batch=1) as local:
            for reduction in REDUCTIONS:
                for grain in GRAINS:
                    found.append(compare(local, Comparison(model, reduction, grain), archives, limit))
                    print(row(found[-1]), flush=True)
    print(json.dumps([asdict(each) for each in found]))


def compare(local: LocalModel, total: Comparison, archives: tuple[Path, ...], limit: int) -> Comparison:
    """Run the images both ways, and add up the agreement and the times."""
    task = TASKS[local.card.task]
    for image in (image for archive in archives for image in images(archive, limit)):
        data = enlarged(image, task.input_size(image.size, local.card), total.reduction, total.grain)
        exact, exact_s = prepare(data, local, fast=False)
        fast, fast_s = prepare(data, local, fast=True)
        first, second = local.run([exact, fast])
        assert isinstance(first, Output)
        assert isinstance(second, Output)
        total.images += 1
        total.agreement += float((answer(first) == answer(second)).mean())
        total.exact_s += exact_s
        total.fast_s += fast_s
    total.agreement /= total.images
    return total


def images(archive: Path, limit: int) -> Iterator[Image.Image]:
    """Yield evenly spaced images of an archive."""
    with tarfile.open(archive) as opened:
        names = sorted(name for name in opened.getnames() if name.endswith(".jpg"))
        for i in np.linspace(0, len(names) - 1, min(limit, len(names))).astype(int):
            file = opened.extractfile(names[i])
            assert file is not None
            yield Image.open(io.BytesIO(file.read())).convert("RGB")


def enlarged(image: Image.Image, size: Size, reduction: int, grain: int) -> bytes:
    """Return a JPEG that the decoder reduces by `reduction` for a network's input of `size`."""
    scale = max(each * MARGIN * reduction * ABOVE / own for each, own in zip(size, image.size, strict=True))
    large = image.resize([round(own * scale) for own in image.size], Image.Resampling.BICUBIC)
    if grain:
        noise = np.random.default_rng(0).normal(0, grain, (large.height, large.width, 1))
        large = Image.fromarray((np.asarray(large) + noise).clip(0, 255).astype(np.uint8))
    file = io.BytesIO()
    large.save(file, "JPEG", quality=QUALITY)
    return file.getvalue()


def prepare(data: bytes, local: LocalModel, *, fast: bool) -> tuple[Sample, float]:
    """Return the sample of a file, and the processor time that it took in seconds."""
    card, task = local.card, TASKS[local.card.task]
    began = time.process_time()
    input_size = partial(task.input_size, card=card) if fast else None
    image = decode(data, LIMITS, exif_orientation=False, input_size=input_size)
    assert image.reduced == fast
    sample = task.preprocess(image, card, OPTIONS.get(task.name, task.options()))
    return sample, time.process_time() - began


def answer(output: Output) -> "np.ndarray[tuple[int, ...], np.dtype[np.generic]]":
    """Return the best class, or the mask."""
    first = output.arrays[0]
    return first[:1] if first.ndim == 1 else first


def row(found: Comparison) -> str:
    """Return one line of the table."""
    times = (f"{1000 * seconds / found.images:.1f}" for seconds in (found.exact_s, found.fast_s))
    cells = (found.model, found.reduction, found.grain, found.images, f"{found.agreement:.2%}", *times)
    return f"| {' | '.join(map(str, cells))} |"


if __name__ == "__main__":
    main()
