"""Trains small Twins on folders of photos: `python -m examples.train --help`."""

from pathlib import Path
from typing import Any

import click
import torch

from examples.train import classify, curve, export, pairs, photos, segment
from examples.train.run import Recipe, Run
from twins.checkpoints import checkpoint
from twins.errors import TwinsError
from twins.network.variants import VARIANTS
from twins.zoo import labels

FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
VIEWS = 5  # of each photo that the teacher is asked about


class Commands(click.Group):
    """Tells what a user can mend in a line."""

    def invoke(self, ctx: click.Context) -> Any:
        """Runs a command."""
        try:
            return super().invoke(ctx)
        except TwinsError as error:
            raise click.ClickException(str(error)) from error


@click.group(cls=Commands)
def main() -> None:
    """Trains a Twins on your own photos, into a checkpoint that `twins serve` takes as it is."""


def common(command: Any) -> Any:
    """The options of both commands."""
    for option in (
        click.option("--seed", default=0, show_default=True),
        click.option("--limit", type=click.IntRange(1), help="take so many photos, to try things out"),
        click.option("--variant", type=click.Choice(list(VARIANTS)), default="svt_nano", show_default=True),
        click.option("--output", required=True, type=click.Path(path_type=Path), help="a second run there goes on"),
        click.option("--test", required=True, type=FOLDER, help="what to measure on, laid out in the same way"),
    ):
        command = option(command)
    return command


@main.command("classify")
@click.option("--train", multiple=True, required=True, type=FOLDER, help="FOLDER/CLASS/*.jpg; may be given again")
@common
@click.option("--epochs", type=click.IntRange(1), default=72, show_default=True)
@click.option("--teacher/--no-teacher", default=True, show_default=True, help="learn from EfficientNet-Lite0, too")
def train_classifier(  # noqa: PLR0913 - one for each flag
    train: tuple[Path, ...],
    *,
    test: Path,
    output: Path,
    variant: str,
    epochs: int,
    teacher: bool,
    limit: int | None,
    seed: int,
) -> None:
    """A classifier, from a folder of class folders."""
    output.mkdir(parents=True, exist_ok=True)
    learnt = photos.load(train, limit=limit)
    tested = photos.load([test], classes=learnt.classes, limit=limit)
    recipe = Recipe(epochs=epochs, batch=128, rate=1.5e-3, seed=seed)
    advice = classify.ask(learnt, output, VIEWS, seed) if teacher else None
    lesson = classify.Classification(learnt, tested, recipe, advice)
    torch.manual_seed(seed)  # only now: the teacher draws, too, unless it is known what it said
    run = Run(classify.Student(VARIANTS[variant], len(learnt.classes)), recipe, output)
    network = run.train(lesson)
    lesson.calibrate(network)
    curve.draw(run.log, "top-1 on the test photos", output / "curve.png")
    export.classifier(network, learnt.classes, output / "model.safetensors")


@main.command("segment")
@click.option("--train", multiple=True, required=True, type=FOLDER, help="FOLDER/{images,masks}; may be given again")
@click.option("--labels", "names", required=True, type=click.Path(path_type=Path), help="class names, one a line")
@click.option("--backbone", type=click.Path(path_type=Path), help="a classifier of the same variant, to begin with")
@common
@click.option("--epochs", type=click.IntRange(1), default=100, show_default=True)
def train_segmenter(  # noqa: PLR0913 - one for each flag
    train: tuple[Path, ...],
    *,
    test: Path,
    output: Path,
    names: Path,
    backbone: Path | None,
    variant: str,
    epochs: int,
    limit: int | None,
    seed: int,
) -> None:
    """A segmentation network, from images and masks."""
    torch.manual_seed(seed)
    classes = labels.read(names)
    recipe = Recipe(epochs=epochs, batch=16, rate=1e-3, seed=seed)
    learnt, tested = (pairs.load(folders, classes=len(classes), limit=limit) for folders in (train, [test]))
    lesson = segment.Masks(learnt, tested, recipe, len(classes))
    start = checkpoint.load(backbone) if backbone else None
    run = Run(segment.student(VARIANTS[variant], len(classes), start), recipe, output)
    network = run.train(lesson)
    lesson.calibrate(network)
    curve.draw(run.log, "mean IoU on the test images", output / "curve.png")
    export.segmenter(network, classes, output / "model.safetensors")


if __name__ == "__main__":
    main()
