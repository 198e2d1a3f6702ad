"""The measures of `twins evaluate`, one for each task of a model."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click
import msgspec
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track

from service.cli.images import LocalModel, read, run
from service.cli.report import Report
from twins.errors import DatasetError, TwinsError
from twins.evaluation import coco, datasets, scores
from twins.images.decode import ImageError
from twins.render import coco as render_coco
from twins.tasks.classify import CLASSIFY, ClassifyOptions
from twins.tasks.detect import DETECT, DetectOptions
from twins.tasks.detection import DetectionResult
from twins.tasks.segment import SEGMENT, SegmentOptions

Item = TypeVar("Item")


@dataclass(frozen=True)
class How:
    """The options of a measure; each concerns segmentation only."""

    reduce_zero_label: bool | None = None  # None: as the layout of the folder suggests
    multi_scale: bool = False  # the mean of several scales, each mirrored as well


def measure(folder: Path, local: LocalModel, how: How) -> Report:
    """Return the figures of a model on a data set. Raise DatasetError, and UsageError for options of another task."""
    if local.card.task != SEGMENT.name and how != How():
        raise click.UsageError(f"{local.card.name} is for the task {local.card.task}; the options for masks do not fit")
    return MEASURES[local.card.task](folder, local, how)


def classifier(folder: Path, local: LocalModel, how: How) -> Report:  # noqa: ARG001 - the same for every task
    """Return the figures of a classifier on all images of the classes."""
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
    return report(local, folder, count, failed)


@dataclass(frozen=True)
class Answer:
    """The mask of an image at its own size, or the error."""

    path: Path
    mask: NDArray[Any] | None = None
    error: str | None = None


def segmenter(folder: Path, local: LocalModel, how: How) -> Report:
    """Return the figures of a segmentation network on all images with masks, at the size of the images."""
    layout, items = datasets.masked_images(folder)
    reduced = layout.reduce_zero_label if how.reduce_zero_label is None else how.reduce_zero_label
    count = scores.SegmenterCount(local.card.labels)
    failed = []
    answers = (at_several_scales if how.multi_scale else at_one_scale)([item.path for item in items], local)
    for item, one in zip(items, with_progress(answers, len(items)), strict=True):
        if one.mask is None:
            failed.append(f"{one.path}: {one.error}")
            continue
        try:
            truth = datasets.read_mask(item.mask, one.mask.shape, reduce_zero_label=reduced)
            datasets.check_classes(truth, item.mask, len(local.card.labels))
        except (ImageError, DatasetError) as error:
            failed.append(str(error))
            continue
        count.add(truth, one.mask)
    return report(local, folder, count, failed)


def at_one_scale(paths: Sequence[Path], local: LocalModel) -> Iterator[Answer]:
    """Yield the masks as the service returns them."""
    options = SegmentOptions()
    for one in run(paths, local, SEGMENT, options):
        mask = None if one.output is None else SEGMENT.postprocess(one.output, local.card, options).mask
        yield Answer(one.path, mask, one.error)


def at_several_scales(paths: Sequence[Path], local: LocalModel) -> Iterator[Answer]:
    """Yield the masks from the mean scores at several scales."""
    from twins.evaluation import multi_scale  # late, since it imports PyTorch
    from twins.runtime.cuda.model import StreamedModel
    from twins.runtime.torch import TorchModel

    model = local.model.model if isinstance(local.model, StreamedModel) else local.model
    assert isinstance(model, TorchModel)
    for path in paths:
        try:
            yield Answer(path, multi_scale.segment(model, read(path, local.card)))
        except TwinsError as error:
            yield Answer(path, error=str(error))


def detector(folder: Path, local: LocalModel, how: How) -> Report:  # noqa: ARG001 - the same for every task
    """Return the average precision of a detector on all images of a data set in COCO's form."""
    data = coco.read(folder, local.card.labels)
    options, results, failed = DetectOptions(), list[dict[str, Any]](), []
    ran = run([image.path for image in data.images], local, DETECT, options)
    for image, one in zip(data.images, with_progress(ran, len(data.images)), strict=True):
        if one.output is None:
            failed.append(f"{one.path}: {one.error}")
            continue
        found = DETECT.postprocess(one.output, local.card, options)
        results += coco_results(found, image.image_id, data.categories)
    if len(failed) == len(data.images):
        raise no_image(folder, failed)
    figures = coco.score(data, results, local.card.labels)
    return Report(local.card.name, local.card.task, str(folder), figures, tuple(failed))


def coco_results(found: DetectionResult, image_id: int, categories: Sequence[int]) -> list[dict[str, Any]]:
    """Return detections as pycocotools reads them, with the numbers of the data set for the classes."""
    rows = msgspec.to_builtins(render_coco.results(found, image_id))
    named = zip(rows, found.detections, strict=True)
    return [{**row, "bbox": list(row["bbox"]), "category_id": categories[each.class_id]} for row, each in named]


MEASURES: Mapping[str, Callable[[Path, LocalModel, How], Report]] = {
    CLASSIFY.name: classifier,
    SEGMENT.name: segmenter,
    DETECT.name: detector,
}
"""By the model's task."""


def report(
    local: LocalModel, folder: Path, count: scores.ClassifierCount | scores.SegmenterCount, failed: list[str]
) -> Report:
    """Return the report. Raise DatasetError if no image could be used."""
    if count.empty:
        raise no_image(folder, failed)
    return Report(local.card.name, local.card.task, str(folder), count.result(), tuple(failed))


def no_image(folder: Path, failed: Sequence[str]) -> DatasetError:
    """Return the error of a data set without a usable image."""
    return DatasetError(f"{folder}: no image could be used; the first: {failed[0]}")


def with_progress(ran: Iterator[Item], total: int) -> Iterable[Item]:
    """Yield the same results and show a progress bar if a person would see it."""
    bar = Console(stderr=True)
    return track(ran, "evaluating", total, console=bar, disable=not bar.is_terminal)
