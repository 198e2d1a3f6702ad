"""`twins evaluate`: measures a model on a folder of images with known labels or masks."""

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

import click
import msgspec
from rich.console import Console
from rich.progress import track

from service.cli.images import EXIT_SOME_FAILED, ImageResult, LocalModel, open_model, run
from service.cli.options import backend_option, calibration_option, device_option, precision_option
from service.cli.report import Report, write
from twins.errors import DatasetError
from twins.evaluation import datasets, scores
from twins.images.decode import ImageError
from twins.runtime.plan import BackendChoice, Plan, Precision
from twins.tasks.classify import CLASSIFY, ClassifyOptions
from twins.tasks.segment import SEGMENT, SegmentOptions


@click.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--model", required=True, help="Measure this model: NAME, or NAME=FILE")
@click.option("--labels", type=click.Path(path_type=Path), help="Read the class names from this file, one per line")
@click.option(
    "--reduce-zero-label/--keep-zero-label",
    "reduce_zero_label",
    default=None,
    help="Treat 0 in masks as no class and start ids at 1; the default depends on the layout of the folder",
)
@device_option
@backend_option
@precision_option
@calibration_option
@click.option(
    "--batch", type=click.IntRange(1, 1024), default=8, show_default=True, help="Run this many images in a batch"
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object, for programs")
def evaluate(  # noqa: PLR0913 - one for each flag
    folder: Path,
    *,
    model: str,
    labels: Path | None,
    reduce_zero_label: bool | None,
    device: str,
    backend: BackendChoice,
    precision: Precision,
    calibration: Path | None,
    batch: int,
    as_json: bool,
) -> None:
    """Measure the accuracy of a model on a folder of images with known labels or masks.

    For a classifier FOLDER has a folder for each class, named as the class or by its synset, or is ImageNet's own
    validation folder, with Annotations/ or LOC_val_solution.csv above it. For a segmentation network it is ADE20K's own
    (images/validation, annotations/validation), or has images/ and masks/: PNG files of class ids, 255 for none.

    \b
    twins evaluate --model twins_svt_small ILSVRC/Data/CLS-LOC/val
    twins evaluate --model twins_svt_small_upernet_ade20k ADEChallengeData2016
    twins evaluate --model mine=./checkpoint.pth --json images/
    """  # noqa: D301 - click wants the control character
    with open_model(model, labels, Plan(device, precision, backend, calibration=calibration), batch=batch) as local:
        report = MEASURES[local.card.task](folder, local, reduce_zero_label=reduce_zero_label)
    click.echo(msgspec.json.encode(report)) if as_json else write(report)
    if report.failed:
        sys.exit(EXIT_SOME_FAILED)


def measure_classifier(folder: Path, local: LocalModel, **_: bool | None) -> Report:
    """Return the figures of a classifier on all images of the classes; it needs no options."""
    items = datasets.labelled_images(folder, local.card)
    count = scores.ClassifierCount(local.card.labels)
    failed = []
    ran = run([item.path for item in items], local, CLASSIFY, ClassifyOptions())
    for item, one in zip(items, with_progress(ran, len(items)), strict=True):
        if one.output is None:
            failed.append(f"{one.path}: {one.error}")
            continue
        ids, confidences = one.output.arrays
        count.add(item.class_id, ids[: scores.TOP].tolist(), float(confidences[0]))
    return finish(local, folder, count, failed)


def measure_segmenter(folder: Path, local: LocalModel, *, reduce_zero_label: bool | None) -> Report:
    """Return the figures of a segmentation network on all images with masks, at the size of the images."""
    layout, items = datasets.masked_images(folder)
    reduce_zero_label = layout.reduce_zero_label if reduce_zero_label is None else reduce_zero_label
    count = scores.SegmenterCount(local.card.labels)
    failed = []
    options = SegmentOptions()
    ran = run([item.path for item in items], local, SEGMENT, options)
    for item, one in zip(items, with_progress(ran, len(items)), strict=True):
        if one.output is None:
            failed.append(f"{one.path}: {one.error}")
            continue
        answer = SEGMENT.postprocess(one.output, local.card, options).mask
        try:
            truth = datasets.read_mask(item.mask, answer.shape, reduce_zero_label=reduce_zero_label)
            datasets.check_classes(truth, item.mask, len(local.card.labels))
        except (ImageError, DatasetError) as error:
            failed.append(str(error))
            continue
        count.add(truth, answer)
    return finish(local, folder, count, failed)


MEASURES: Mapping[str, Callable[..., Report]] = {
    CLASSIFY.name: measure_classifier,
    SEGMENT.name: measure_segmenter,
}
"""By the model's task."""


def finish(
    local: LocalModel, folder: Path, count: scores.ClassifierCount | scores.SegmenterCount, failed: list[str]
) -> Report:
    """Return the report. Raise DatasetError if no image could be used."""
    if count.empty:
        raise DatasetError(f"{folder}: no image could be used; the first: {failed[0]}")
    return Report(local.card.name, local.card.task, str(folder), count.result(), tuple(failed))


def with_progress(ran: Iterator[ImageResult], total: int) -> Iterable[ImageResult]:
    """Yield the same results and show a progress bar if a person would see it."""
    bar = Console(stderr=True)
    return track(ran, "evaluating", total, console=bar, disable=not bar.is_terminal)
