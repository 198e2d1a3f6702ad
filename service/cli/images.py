"""Functions for all commands that run models on local images."""

import asyncio
import sys
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import click
from rich.console import Console
from rich.progress import track

from service import logs
from service.core.local import LocalPool
from service.errors import ServiceError
from twins.card import Card
from twins.errors import DeviceMissing, TwinsError
from twins.evaluation.datasets import SUFFIXES
from twins.images.decode import DecodedImage, ImageError, Limits, decode
from twins.images.input_image import InputImage
from twins.preprocessing import assumed, describe
from twins.runtime.backend import Model
from twins.runtime.choice import choose_device, open_backend
from twins.runtime.plan import Plan
from twins.tasks.options import Options
from twins.tasks.sample import Output, Sample
from twins.tasks.task import AnyTask
from twins.zoo.models import parse_reference

EXIT_SOME_FAILED = 1
STDIN = Path("-")


@dataclass(frozen=True)
class Prepared:
    """One image that is ready to run."""

    sample: Sample
    image: DecodedImage | None  # kept if the result shows it


@dataclass(frozen=True)
class ImageResult:
    """The result of one file: an output and its image, or an error."""

    path: Path
    output: Output | None = None
    image: DecodedImage | None = None
    error: str | None = None


def expand(names: Iterable[str]) -> list[Path]:
    """Return the files, and all images in the folders at any depth, in order. Raise UsageError if there are none."""
    names = list(names)
    files = [path for name in names for path in expand_one(Path(name))]
    if not files:
        raise click.UsageError(f"no image in {', '.join(names)}")
    return files


def expand_one(path: Path) -> Iterator[Path]:
    """Yield the files that one argument names."""
    if path.is_dir():
        yield from sorted(child for child in path.rglob("*") if child.suffix.lower() in SUFFIXES and child.is_file())
    elif path == STDIN or path.is_file():
        yield path
    else:
        raise click.UsageError(f"{path}: no such file or folder")


class LocalModel:
    """One model in a pool of this process, for commands, which have no event loop."""

    def __init__(self, pool: LocalPool, card: Card, batch: int, runner: asyncio.Runner) -> None:
        self.pool, self.card, self.batch, self.runner = pool, card, batch, runner
        self.serving = runner.get_loop().create_task(pool.serve())  # until the runner is closed

    @property
    def model(self) -> Model:
        """Return the model as its backend loaded it."""
        return self.pool.models[self.card.key].model

    def run(self, samples: Sequence[Sample]) -> list[Output | ServiceError]:
        """Return the output or the error of each sample, in order. Samples of one shape run together."""
        return self.runner.run(self.submit(samples))

    async def submit(self, samples: Sequence[Sample]) -> list[Output | ServiceError]:
        """Submit all samples at once, so that their batches do not depend on time."""
        return await asyncio.gather(*(self.submit_one(sample) for sample in samples))

    async def submit_one(self, sample: Sample) -> Output | ServiceError:
        """Return the output or the error of one sample."""
        try:
            return (await self.pool.submit(self.card.key, sample)).output
        except ServiceError as error:
            return error


@contextmanager
def open_model(
    model: str, labels: Path | None, plan: Plan, *, batch: int, task: AnyTask | None = None
) -> Iterator[LocalModel]:
    """Yield a model that runs as planned. Raise TwinsError, and UsageError for a model that cannot run the task."""
    logs.configure_command()
    pool = LocalPool(lambda _: open_backend(replace(plan, device=choose_device(plan.device))), max_batch=batch)
    with asyncio.Runner() as runner, closing(pool):
        try:
            runner.run(pool.open())
        except DeviceMissing as error:
            raise click.UsageError(f"--device {plan.device}: {error}") from error
        card = runner.run(pool.load(replace(parse_reference(model), labels_file=labels), warm_up=False))
        if task is not None and not task.serves(card):
            raise click.UsageError(f"--model {model} is for the task {card.task}; it cannot {task.name}")
        if assumed(card):
            click.echo(f"twins: {default_values(card)}", err=True)
        yield LocalModel(pool, card, batch, runner)


def default_values(card: Card) -> str:
    """Return a sentence about the values of a model's preprocessing that neither the user nor the file gives."""
    return (
        f"{card.name}: defaults are used for {', '.join(assumed(card))}, which may be wrong for this model. "
        f"Preprocessing: {describe(card)}. `twins convert` stores the right values in the file"
    )


def run(
    files: Sequence[Path], local: LocalModel, task: AnyTask, options: Options, *, keep_image: bool = False
) -> Iterator[ImageResult]:
    """Yield the result of every file, in order, with its image if `keep_image`. Decode the next batch meanwhile."""

    def submit(paths: Sequence[Path]) -> "list[Future[Prepared | TwinsError]]":
        return [threads.submit(prepare, path, local.card, task, options, keep_image=keep_image) for path in paths]

    groups = [files[i : i + local.batch] for i in range(0, len(files), local.batch)]
    with ThreadPoolExecutor() as threads:
        ahead = submit(groups[0]) if groups else []
        for index, group in enumerate(groups):
            prepared = [future.result() for future in ahead]
            ahead = submit(groups[index + 1]) if index + 1 < len(groups) else []
            outputs = iter(local.run([item.sample for item in prepared if isinstance(item, Prepared)]))
            for path, item in zip(group, prepared, strict=True):
                found = next(outputs) if isinstance(item, Prepared) else item
                if isinstance(item, Prepared) and isinstance(found, Output):
                    yield ImageResult(path, found, item.image)
                else:
                    yield ImageResult(path, error=str(found))


def with_progress(found: Iterator[ImageResult], doing: str, total: int, screen: Console) -> Iterable[ImageResult]:
    """Yield the same results and show a progress bar if a person would see it. `screen` prints the results."""
    bar = screen if screen.is_terminal else Console(stderr=True)
    return track(found, doing, total, console=bar, disable=total < 2 or not bar.is_terminal)


def prepare(
    path: Path, card: Card, task: AnyTask, options: Options, *, keep_image: bool = False
) -> Prepared | TwinsError:
    """Return the sample of a file, or what is wrong with the file."""
    try:
        image = read(path, card)
        return Prepared(task.preprocess(image, card, options), image.pixels if keep_image else None)
    except ImageError as error:
        return error


def read(path: Path, card: Card) -> InputImage:
    """Return the image in a file. Raise ImageError."""
    try:
        data = sys.stdin.buffer.read() if path == STDIN else path.read_bytes()
    except OSError as error:
        raise ImageError(error.strerror or str(error)) from error
    return decode(data, Limits(max_bytes=2**31), exif_orientation=card.exif_orientation)
