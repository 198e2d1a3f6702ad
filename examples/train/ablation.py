"""The paper's ablations at the size of `svt_nano`: arrangements of blocks (Table 5) and sub-sampling (Table 6).

Every row of variants is trained with the same schedule and several seeds, without a teacher. A finished run is one line
of JSON, and is not repeated; a run that was interrupted goes on after its last epoch.
"""

import json
import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import click
import torch

from examples.train import augment, classify, labelled_images
from examples.train.labelled_images import LabelledImages
from examples.train.run import Recipe, Run
from twins.network.variants import VARIANTS
from twins.zoo.paper import PAPER

TABLES: Mapping[str, tuple[str, ...]] = {
    "5": ("svt_nano_lll", "svt_nano_l_llg_llg_g", "svt_nano_l_lg_lg_g", "svt_nano_lllg", "pvt_nano"),
    "6": ("svt_nano", "svt_nano_separable", "svt_nano_average"),
}
"""The variants by table of the paper."""

ROWS = tuple(name for names in TABLES.values() for name in names)
RESULTS = "ablation.jsonl"
SEEDS = 3
FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
BATCH, RATE = 128, 1.5e-3
HEADINGS = ("table", "variant", "runs", "top-1, 95 % interval", "rank", "paper, small size", "rank there")
QUANTILES = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776}  # of Student's t for 95 %, by the number of runs
NORMAL = 1.96  # for more runs


@dataclass(frozen=True)
class Schedule:
    """What all runs share."""

    epochs: int
    side: int  # pixels of a crop, in training and in the test


@dataclass(frozen=True)
class Finished:
    """One finished run."""

    variant: str
    seed: int
    epochs: int
    side: int
    images: int  # for training
    top1: float  # percent, of the test images
    seconds: float


@dataclass(frozen=True)
class Summary:
    """All runs of one variant, in percent."""

    table: str
    variant: str
    runs: int
    mean: float
    interval: float  # half the width of the 95 % interval of the mean; nan for one run
    paper: float  # top-1 of the row in the paper, with networks of another size on another data set


@dataclass(frozen=True)
class Ablation:
    """All runs on some images, and the folder of their results."""

    train: LabelledImages
    test: LabelledImages
    schedule: Schedule
    folder: Path
    device: str = "cpu"

    def run_all(self, seeds: int) -> None:
        """Train what is not finished yet. All variants have a seed before the next one starts."""
        for seed in range(seeds):
            for variant in ROWS:
                if (variant, seed) not in {(each.variant, each.seed) for each in finished(self.folder, self.schedule)}:
                    write(self.run(variant, seed), self.folder)

    def run(self, variant: str, seed: int) -> Finished:
        """Train one variant with one seed."""
        side, epochs = self.schedule.side, self.schedule.epochs
        recipe = Recipe(epochs=epochs, batch=BATCH, rate=RATE, seed=seed)
        objective = classify.Classification(self.train, self.test, recipe, None, ((1.0, side),), test_side=side)
        torch.manual_seed(seed)
        network = classify.DistilledClassifier(VARIANTS[variant], len(self.train.classes))
        run = Run(network, recipe, self.folder / f"{variant}-{seed}-{epochs}-{side}", self.device)
        run.train(objective, measure_every=epochs)
        seconds = sum(entry.seconds for entry in run.log)
        return Finished(variant, seed, epochs, side, len(self.train), 100 * (run.log[-1].figure or 0), seconds)


def write(result: Finished, folder: Path) -> None:
    """Add the line of a finished run."""
    with (folder / RESULTS).open("a", encoding="utf-8") as file:
        file.write(json.dumps(asdict(result)) + "\n")


def read(path: Path) -> list[Finished]:
    """Return the finished runs in a file; none if there is no file."""
    lines = path.read_text("utf-8").splitlines() if path.is_file() else []
    return [Finished(**json.loads(line)) for line in lines]


def finished(folder: Path, schedule: Schedule) -> Iterator[Finished]:
    """Yield the finished runs of a schedule."""
    for each in read(folder / RESULTS):
        if (each.epochs, each.side) == (schedule.epochs, schedule.side):
            yield each


def summarise(found: Iterable[Finished]) -> list[Summary]:
    """Return a summary of each variant that has a run, table by table."""
    results = list(found)
    return [
        summary(table, variant, scores)
        for table, variants in TABLES.items()
        for variant in variants
        if (scores := [each.top1 for each in results if each.variant == variant])
    ]


def summary(table: str, variant: str, scores: Sequence[float]) -> Summary:
    """Return the mean of the scores with its interval, beside the paper's figure."""
    interval = float("nan")
    if len(scores) > 1:
        interval = QUANTILES.get(len(scores), NORMAL) * statistics.stdev(scores) / len(scores) ** 0.5
    return Summary(table, variant, len(scores), statistics.mean(scores), interval, paper_score(table, variant))


def paper_score(table: str, variant: str) -> float:
    """Return the top-1 of a row in the paper, where it is a small network."""
    small = variant.replace("nano", "small")
    return next(entry.scores["top1"] for entry in PAPER if (entry.table, entry.variant) == (table, small))


def report(summaries: Sequence[Summary]) -> Iterator[tuple[str, ...]]:
    """Yield the cells of each summary: both figures, with their rank in the table."""
    for each in summaries:
        same = [other for other in summaries if other.table == each.table]
        ours = 1 + sum(other.mean > each.mean for other in same)
        theirs = 1 + sum(other.paper > each.paper for other in same)
        interval = f" ± {each.interval:.2f}" if each.runs > 1 else ""
        yield (
            each.table,
            each.variant,
            f"{each.runs}",
            f"{each.mean:.2f}{interval}",
            f"{ours}",
            f"{each.paper:.1f}",
            f"{theirs}",
        )


def whole_tiles(_: click.Context, __: click.Parameter, side: int) -> int:
    """Return the side of a crop. Raise BadParameter unless its tiles can be shuffled."""
    if side % augment.TILES:
        raise click.BadParameter(f"{side} is not a multiple of {augment.TILES}")
    return side


@click.command("ablation")
@click.option("--train", multiple=True, required=True, type=FOLDER, help="Train on FOLDER/CLASS/*.jpg.")
@click.option("--test", required=True, type=FOLDER, help="Measure on this folder, which has the same layout.")
@click.option(
    "--output",
    required=True,
    type=click.Path(path_type=Path),
    help="Write runs and results to this folder. Runs that are finished there are not repeated.",
)
@click.option("--epochs", type=click.IntRange(1), default=7, show_default=True)
@click.option(
    "--side",
    type=click.IntRange(35),
    default=84,
    show_default=True,
    callback=whole_tiles,
    help="Use crops of this side, in pixels; a multiple of 7.",
)
@click.option("--seeds", type=click.IntRange(1), default=SEEDS, show_default=True, help="Runs of each variant.")
@click.option("--limit", type=click.IntRange(1), help="Use only this many images, for a quick trial.")
@click.option("--device", default="cpu", show_default=True, help="Train on this device, such as cuda.")
def command(  # noqa: PLR0913 - one parameter for each flag
    train: tuple[Path, ...],
    *,
    test: Path,
    output: Path,
    epochs: int,
    side: int,
    seeds: int,
    limit: int | None,
    device: str,
) -> None:
    """Train the variants of the paper's tables 5 and 6 at nano size, and print their accuracies."""
    output.mkdir(parents=True, exist_ok=True)
    train_images = labelled_images.load(train, limit=limit)
    test_images = labelled_images.load([test], classes=train_images.classes, limit=limit)
    schedule = Schedule(epochs, side)
    Ablation(train_images, test_images, schedule, output, device).run_all(seeds)
    lines = [HEADINGS, *report(summarise(finished(output, schedule)))]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        click.echo("  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip())
