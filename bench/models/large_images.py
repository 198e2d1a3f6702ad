"""Compare the fast decoding of large JPEG images with the exact one: `python -m bench.models.large_images TAR…`.

The images of the archives are scaled up so far that the decoder reduces them by 2 and by 4, and encoded again. Both
models that ship get each image decoded both ways. Writes `docs/benchmarks/large-images.json`. Without an archive, which
`BENCH_IMAGES` can name as well, nothing is measured.
"""

import io
import tarfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import click
import numpy as np
from PIL import Image

from bench.result import Result, Row, Target, quick_option
from service.cli.images import LocalModel, open_model
from twins.images.decode import Limits, decode
from twins.images.input_image import Size
from twins.runtime.plan import Plan
from twins.tasks import TASKS
from twins.tasks.options import Options
from twins.tasks.sample import Output, Sample
from twins.tasks.segment import SegmentOptions
from twins.zoo.models import DEFAULT_MODELS

REDUCTIONS = (2, 4)
ABOVE = 1.02  # how far each image exceeds the size at which the decoder starts to reduce it so far
QUALITY = 90
LEAST = 0.995  # of the classes, and of the pixels of masks, that are the same
LIMITS = Limits(max_bytes=2**31, max_pixels=2**31)
OPTIONS: dict[str, Options] = {"segment": SegmentOptions(size="model")}


@dataclass
class Comparison:
    """The sums over all images of one model and reduction."""

    model: str
    reduction: int
    images: int = 0
    agreement: float = 0.0  # share of the top-1 classes, or of the pixels of the masks, that are equal
    exact_s: float = 0.0  # processor time of decode and preprocess
    fast_s: float = 0.0


@click.command()
@click.argument(
    "archives", nargs=-1, envvar="BENCH_IMAGES", type=click.Path(exists=True, dir_okay=False, path_type=Path)
)
@click.option("--limit", default=100, show_default=True, help="Use this many images of each archive")
@quick_option
def main(archives: tuple[Path, ...], *, limit: int, quick: bool) -> None:
    """Print the agreement and the times."""
    if not archives:
        click.echo("skipped: name a tar archive of JPEG images, or set BENCH_IMAGES")
        return
    found = list(comparisons(archives, 10 if quick else limit))
    command = f"python -m bench.models.large_images {' '.join(archive.name for archive in archives)} --limit {limit}"
    result = Result("large-images", [row(each) for each in found], [target(each) for each in found], command=command)
    result.show()
    result.save(quick=quick)


def comparisons(archives: Sequence[Path], limit: int) -> Iterator[Comparison]:
    """Yield the comparison of each model and reduction. Images that are larger take longer, so fewer are used."""
    for model in DEFAULT_MODELS.values():
        with open_model(model, None, Plan("cpu", backend="torch"), batch=2) as local:
            for reduction in REDUCTIONS:
                count = max(1, limit * REDUCTIONS[0] // reduction)
                yield compare(local, Comparison(model, reduction), archives, count)


def compare(local: LocalModel, total: Comparison, archives: tuple[Path, ...], limit: int) -> Comparison:
    """Run the images both ways, and add up the agreement and the times."""
    task = TASKS[local.card.task]
    for image in (image for archive in archives for image in images(archive, limit)):
        data = enlarged(image, task.smallest_size(image.size, local.card), total.reduction)
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


def enlarged(image: Image.Image, smallest: Size, reduction: int) -> bytes:
    """Return a JPEG that the decoder reduces by `reduction` if it may reduce images down to the size `smallest`."""
    scale = max(each * reduction * ABOVE / own for each, own in zip(smallest, image.size, strict=True))
    large = image.resize([round(own * scale) for own in image.size], Image.Resampling.LANCZOS)
    file = io.BytesIO()
    large.save(file, "JPEG", quality=QUALITY)
    return file.getvalue()


def prepare(data: bytes, local: LocalModel, *, fast: bool) -> tuple[Sample, float]:
    """Return the sample of a file, and the processor time that it took in seconds."""
    card, task = local.card, TASKS[local.card.task]
    began = time.process_time()
    smallest_size = partial(task.smallest_size, card=card) if fast else None
    image = decode(data, LIMITS, exif_orientation=False, smallest_size=smallest_size)
    assert image.reduced == fast
    sample = task.preprocess(image, card, OPTIONS.get(task.name, task.options()))
    return sample, time.process_time() - began


def answer(output: Output) -> "np.ndarray[tuple[int, ...], np.dtype[np.generic]]":
    """Return the best class, or the mask."""
    first = output.arrays[0]
    return first[:1] if first.ndim == 1 else first


def row(found: Comparison) -> Row:
    """Return one line of the table."""
    return {
        "model": found.model,
        "reduced by": found.reduction,
        "images": found.images,
        "equal": f"{found.agreement:.2%}",
        "exact, ms": round(1000 * found.exact_s / found.images, 1),
        "fast, ms": round(1000 * found.fast_s / found.images, 1),
    }


def target(found: Comparison) -> Target:
    """Return the target of one comparison."""
    text = f"{found.model}: share of classes or mask pixels that stay equal if images are reduced by {found.reduction}"
    return Target(text, f"at least {LEAST:.1%}", f"{found.agreement:.2%}", found.agreement >= LEAST)


if __name__ == "__main__":
    main()
