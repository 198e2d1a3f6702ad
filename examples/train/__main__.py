"""Train small Twins networks on folders of images: `python -m examples.train --help`."""

from pathlib import Path
from typing import Any

import click
import torch

from examples.train import annotated_images, classify, curve, export, instances, labelled_images, others, pairs, segment
from examples.train.ablation import command as ablation
from examples.train.run import Recipe, Run
from twins.checkpoints import checkpoint
from twins.errors import TwinsError
from twins.evaluation import datasets
from twins.network.variants import DENSE_STAGES, VARIANTS, Variant
from twins.zoo import labels

FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
CROPS = 5  # crops of each image for which the teacher's features are computed


class Commands(click.Group):
    """Print the errors that a user can correct as one line, without a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command."""
        try:
            return super().invoke(ctx)
        except TwinsError as error:
            raise click.ClickException(str(error)) from error


@click.group(cls=Commands)
def main() -> None:
    """Train a Twins network on your own images. `twins serve` can load the resulting checkpoint."""


def common(command: Any) -> Any:
    """Add the options of all commands."""
    for option in (
        click.option("--device", default="cpu", show_default=True, help="Train on this device, such as cuda."),
        click.option("--seed", default=0, show_default=True),
        click.option("--limit", type=click.IntRange(1), help="Use only this many images, for a quick trial."),
        click.option("--variant", type=click.Choice(list(VARIANTS)), default="svt_nano", show_default=True),
        click.option(
            "--output",
            required=True,
            type=click.Path(path_type=Path),
            help="Write the results to this folder. A run that was interrupted there continues.",
        ),
        click.option("--test", required=True, type=FOLDER, help="Measure on this folder, which has the same layout."),
    ):
        command = option(command)
    return command


labels_option = click.option(
    "--labels",
    "names",
    required=True,
    type=click.Path(path_type=Path),
    help="Read the class names from this file, one per line; the first one is the background.",
)
backbone_option = click.option(
    "--backbone",
    type=click.Path(path_type=Path),
    help="Start with the weights of this classifier, which must have the same variant.",
)


@main.command("classify")
@click.option(
    "--train", multiple=True, required=True, type=FOLDER, help="Train on FOLDER/CLASS/*.jpg. May be repeated."
)
@common
@click.option("--epochs", type=click.IntRange(1), default=72, show_default=True)
@click.option(
    "--others",
    "other_folders",
    multiple=True,
    type=FOLDER,
    help="Images of other things, FOLDER/*.jpg, for which the network learns low confidence. May be repeated.",
)
@click.option(
    "--start", type=click.Path(path_type=Path), help="Start with the weights of this classifier of the same classes."
)
@click.option(
    "--rate", type=click.FloatRange(0, min_open=True), default=1.5e-3, show_default=True, help="The peak learning rate."
)
@click.option("--teacher/--no-teacher", default=True, show_default=True, help="Also learn from EfficientNet-Lite0.")
def train_classifier(  # noqa: PLR0913 - one parameter for each flag
    train: tuple[Path, ...],
    *,
    test: Path,
    output: Path,
    variant: str,
    epochs: int,
    other_folders: tuple[Path, ...],
    start: Path | None,
    rate: float,
    teacher: bool,
    limit: int | None,
    seed: int,
    device: str,
) -> None:
    """Train a classifier on a folder of class folders."""
    output.mkdir(parents=True, exist_ok=True)
    train_images = labelled_images.load(train, limit=limit)
    test_images = labelled_images.load([test], classes=train_images.classes, limit=limit)
    if other_folders:
        train_images = labelled_images.with_others(train_images, other_folders, limit)
    recipe = Recipe(epochs=epochs, batch=128, rate=rate, seed=seed)
    targets = classify.teacher_targets(train_images, output, CROPS, seed) if teacher else None
    sizes = classify.LAST_SIZE if start else classify.SIZES
    objective = classify.Classification(train_images, test_images, recipe, targets, sizes)
    torch.manual_seed(seed)  # set the seed here, since the teacher uses random numbers unless its features are cached
    fresh = classify.DistilledClassifier(VARIANTS[variant], len(train_images.classes))
    if start:
        classify.start(fresh, checkpoint.load(start))
    run = Run(fresh, recipe, output, device)
    network = run.train(objective)
    objective.calibrate(network)
    curve.draw(run.log, "top-1 on the test images", output / "curve.png")
    export.classifier(network, train_images.classes, output / "model.safetensors")


@main.command("pretrain")
@click.option("--train", multiple=True, required=True, type=FOLDER, help="All images below FOLDER. May be repeated.")
@backbone_option
@common
@click.option("--epochs", type=click.IntRange(1), default=10, show_default=True)
def pretrain_backbone(  # noqa: PLR0913 - one parameter for each flag
    train: tuple[Path, ...],
    *,
    test: Path,
    output: Path,
    backbone: Path | None,
    variant: str,
    epochs: int,
    limit: int | None,
    seed: int,
    device: str,
) -> None:
    """Train a backbone on images without labels: it learns the feature maps of EfficientNet-Lite0."""
    from examples.train import pretrain  # imported here, since its packages are only needed for this command

    recipe = Recipe(epochs=epochs, batch=32, rate=1e-3, seed=seed)
    objective = pretrain.Pretraining(pretrain.load(train, limit), pretrain.load([test], limit), recipe)
    torch.manual_seed(seed)
    network = pretrain.build(dense(variant), checkpoint.load(backbone) if backbone else None)
    run = Run(network, recipe, output, device)
    trained = run.train(objective, measure_every=1)
    curve.draw(run.log, "predictions equal to the teacher's", output / "curve.png")
    export.pretrained(trained, pretrain.SIZES[-1][1], output / "model.safetensors")


@main.command("segment")
@click.option(
    "--train", multiple=True, required=True, type=FOLDER, help="Train on FOLDER/{images,masks}. May be repeated."
)
@labels_option
@backbone_option
@common
@click.option("--epochs", type=click.IntRange(1), default=100, show_default=True)
def train_segmenter(  # noqa: PLR0913 - one parameter for each flag
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
    device: str,
) -> None:
    """Train a segmentation network on images and masks."""
    torch.manual_seed(seed)
    classes = labels.read(names)
    recipe = Recipe(epochs=epochs, batch=16, rate=1e-3, seed=seed)
    train_pairs, test_pairs = (pairs.load(folders, classes=len(classes), limit=limit) for folders in (train, [test]))
    objective = segment.Segmentation(train_pairs, test_pairs, recipe, len(classes))
    start = checkpoint.load(backbone) if backbone else None
    run = Run(segment.build(dense(variant), len(classes), start), recipe, output, device)
    network = run.train(objective)
    objective.calibrate(network)
    curve.draw(run.log, "mean IoU on the test images", output / "curve.png")
    export.segmenter(network, classes, output / "model.safetensors")


@main.command("instances")
@click.option(
    "--train",
    multiple=True,
    required=True,
    type=FOLDER,
    help="Train on FOLDER/{images,masks,instances.json}. May be repeated.",
)
@labels_option
@backbone_option
@common
@click.option("--epochs", type=click.IntRange(1), default=30, show_default=True)
def train_instances(  # noqa: PLR0913 - one parameter for each flag
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
    device: str,
) -> None:
    """Train a detector and a segmentation network on images, masks and objects."""
    torch.manual_seed(seed)
    classes = labels.read(names)
    objects = [label.name for label in classes[1:]]
    recipe = Recipe(epochs=epochs, batch=16, rate=1e-3, seed=seed)
    train_images = annotated_images.load(train, objects, limit)
    test_pairs = pairs.load([test], classes=len(classes), limit=limit)
    objective = instances.Instances(train_images, test_pairs, recipe, len(objects))
    start = checkpoint.load(backbone) if backbone else None
    run = Run(instances.build(dense(variant), len(objects), start), recipe, output, device)
    network = run.train(objective)
    assert isinstance(network, instances.InstanceNetwork)
    objective.calibrate(network)
    curve.draw(run.log, "mean IoU on the test images", output / "curve.png")
    export.segmenter(network.segmenter(), classes, output / "segmenter.safetensors", instances.INPUT_SIDE)
    export.detector(network.detector, classes[1:], output / "detector.safetensors")


main.add_command(ablation)


def dense(name: str) -> Variant:
    """Return a variant for a network that needs four maps. Raise UsageError."""
    if VARIANTS[name].stages != DENSE_STAGES:
        raise click.UsageError(f"{name} has {VARIANTS[name].stages} stages; this network needs the maps of four")
    return VARIANTS[name]


@main.command("label")
@click.argument("folder", type=FOLDER)
@click.option("--output", required=True, type=click.Path(path_type=Path), help="Write images, masks and objects there.")
@labels_option
@click.option("--shows", required=True, help="Leave out images without an object of this class.")
@click.option("--detector", required=True, type=FILE, help="The ONNX file of YOLOX-nano.")
@click.option("--segmenter", required=True, type=FILE, help="The TFLite file of DeepLabV3.")
@click.option("--limit", type=click.IntRange(1), help="Use only this many images.")
def label_images(  # noqa: PLR0913 - one parameter for each flag
    folder: Path, *, output: Path, names: Path, shows: str, detector: Path, segmenter: Path, limit: int | None
) -> None:
    """Write masks and objects of the images in FOLDER, as two teachers find them, for `instances`."""
    from examples.train import label  # imported here, since its packages are only needed for this command

    paths = list(datasets.images(folder))
    chosen = labelled_images.evenly_spaced(paths, min(limit or len(paths), len(paths)))
    classes = object_classes(names, shows)
    teachers = label.Detector(detector), label.Segmenter(segmenter)
    count = label.write(chosen, output, classes, teachers, shows=shows)
    click.echo(f"{count} of {len(chosen)} images show a {shows}")


@main.command("others")
@click.argument("folder", type=FOLDER)
@click.option("--output", required=True, type=click.Path(path_type=Path), help="Write the images there.")
@labels_option
@click.option("--without", multiple=True, required=True, help="Show no object of this class. May be repeated.")
@click.option("--most", type=click.IntRange(1), default=2, show_default=True, help="Crops of each image.")
@click.option("--seed", default=0, show_default=True)
def write_others(  # noqa: PLR0913 - one parameter for each flag
    folder: Path, *, output: Path, names: Path, without: tuple[str, ...], most: int, seed: int
) -> None:
    """Write parts of the annotated images in FOLDER that show none of some classes, for `classify --others`."""
    classes = object_classes(names, *without)
    found = annotated_images.load([folder], classes)
    click.echo(f"{others.write(found, output, [classes.index(name) for name in without], most, seed)} images")


def object_classes(names: Path, *needed: str) -> list[str]:
    """Return the classes of a file after the background. Raise UsageError unless `needed` are among them."""
    classes = [each.name for each in labels.read(names)[1:]]
    if unknown := sorted(set(needed) - set(classes)):
        raise click.UsageError(f"{unknown[0]!r} is not among the labels")
    return classes


if __name__ == "__main__":
    main()
