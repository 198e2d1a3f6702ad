"""What the commands that run a model here have in common: which files, which model, and the work itself."""

import sys
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import click

from twins.card import Card
from twins.errors import DeviceMissing, TwinsError
from twins.evaluation.datasets import SUFFIXES
from twins.images.decode import DecodedImage, ImageError, Limits, decode
from twins.runtime.backend import choose_device, open_backend
from twins.runtime.batches import BatchRunner, SampleError
from twins.runtime.plan import Plan
from twins.tasks.options import Options
from twins.tasks.sample import Output, Sample
from twins.tasks.task import AnyTask
from twins.zoo.models import parse_reference

EXIT_SOME_FAILED = 1
STDIN = Path("-")


@dataclass(frozen=True)
class Prepared:
    """One image, ready to run."""

    sample: Sample
    image: DecodedImage | None  # if it is to be kept


@dataclass(frozen=True)
class ImageResult:
    """What became of one file: an output and its image, or an error."""

    path: Path
    output: Output | None = None
    image: DecodedImage | None = None
    error: str | None = None


def expand(names: Iterable[str]) -> list[Path]:
    """Files as given; of folders all images, at any depth, in order. Raises UsageError, also for none at all."""
    names = list(names)
    files = [path for name in names for path in expand_one(Path(name))]
    if not files:
        raise click.UsageError(f"no image in {', '.join(names)}")
    return files


def expand_one(path: Path) -> Iterator[Path]:
    """The files that one argument stands for."""
    if path.is_dir():
        yield from sorted(child for child in path.rglob("*") if child.suffix.lower() in SUFFIXES and child.is_file())
    elif path == STDIN or path.is_file():
        yield path
    else:
        raise click.UsageError(f"{path}: no such file or folder")


def open_runner(model: str, labels: Path | None, device: str, task: AnyTask | None = None) -> BatchRunner:
    """The model on the device. Raises TwinsError, and UsageError for a model of another task than is wanted."""
    try:
        backend = open_backend(Plan(choose_device(device)))
    except (DeviceMissing, RuntimeError) as error:  # the second from PyTorch, for a name that it does not know
        raise click.UsageError(f"--device {device}: {str(error).splitlines()[0]}") from error
    loaded = backend.load(parse_reference(model), labels_file=labels)
    if task is not None and not task.serves(loaded.card):
        raise click.UsageError(f"--model {model} is for the task {loaded.card.task}; it cannot {task.name}")
    return BatchRunner(loaded, backend.device.kind, max_batch=1024)


def run(  # noqa: PLR0913 - a task comes with its options
    files: Sequence[Path], runner: BatchRunner, task: AnyTask, options: Options, batch: int, *, keep: bool = False
) -> Iterator[ImageResult]:
    """What becomes of every file, in order, with its image if that is to be kept; the next are decoded meanwhile."""

    def submit(paths: Sequence[Path]) -> "list[Future[Prepared | TwinsError]]":
        return [pool.submit(prepare, path, runner.card, task, options, keep=keep) for path in paths]

    groups = [files[i : i + batch] for i in range(0, len(files), batch)]
    with ThreadPoolExecutor() as pool:
        ahead = submit(groups[0]) if groups else []
        for index, group in enumerate(groups):
            prepared = [future.result() for future in ahead]
            ahead = submit(groups[index + 1]) if index + 1 < len(groups) else []
            outputs = forward([item.sample for item in prepared if isinstance(item, Prepared)], runner)
            for path, item in zip(group, prepared, strict=True):
                found = next(outputs) if isinstance(item, Prepared) else item
                if isinstance(item, Prepared) and isinstance(found, Output):
                    yield ImageResult(path, found, item.image)
                else:
                    yield ImageResult(path, error=str(found))


def forward(samples: Sequence[Sample], runner: BatchRunner) -> Iterator[Output | SampleError]:
    """The outputs in order. Only equal shapes run together."""
    shapes: dict[tuple[int, int], list[int]] = {}
    for place, sample in enumerate(samples):
        shapes.setdefault(sample.input_size, []).append(place)
    found: dict[int, Output | SampleError] = {}
    for places in shapes.values():
        found.update(zip(places, runner.run([samples[place] for place in places]), strict=True))
    return (found[place] for place in range(len(samples)))


def prepare(path: Path, card: Card, task: AnyTask, options: Options, *, keep: bool = False) -> Prepared | TwinsError:
    """A file's sample, or what is wrong with it."""
    try:
        data = sys.stdin.buffer.read() if path == STDIN else path.read_bytes()
        image = decode(data, Limits(max_bytes=2**31), exif_orientation=card.exif_orientation)
        return Prepared(task.preprocess(image, card, options), image if keep else None)
    except ImageError as error:
        return error
    except OSError as error:
        return ImageError(error.strerror or str(error))
