"""Print the result of `twins evaluate` as a table."""

from dataclasses import dataclass

import click
from rich.console import Console
from rich.table import Table

from twins.evaluation.coco import DetectionScores, Precision
from twins.evaluation.scores import ClassificationScores, Interval, SegmentationScores


@dataclass(frozen=True)
class Report:
    """The result of an evaluation. `failed` lists the images that were left out, with the reason."""

    model: str
    task: str
    folder: str
    figures: ClassificationScores | SegmentationScores | DetectionScores
    failed: tuple[str, ...] = ()


def write(report: Report) -> None:
    """Print a report as a table and a summary."""
    table = Table(box=None)
    match report.figures:
        case ClassificationScores() as found:
            line = write_classified(found, table)
        case SegmentationScores() as found:
            line = write_segmented(found, table)
        case DetectionScores() as found:
            line = write_detected(found, table)
    screen = Console()
    screen.print(table)
    screen.print(line, soft_wrap=True, highlight=False, markup=False)
    for failure in report.failed:
        click.echo(failure, err=True)


def write_classified(found: ClassificationScores, table: Table) -> str:
    """Add one row per class to the table. Return the summary over all classes."""
    for name in ("class", "images", "top-1", "95 %", "most often confused with"):
        table.add_column(name)
    for each in sorted(found.classes, key=lambda each: -each.top1):
        other = f"{each.taken_for} ({each.taken_for_images / each.images:.0%})" if each.taken_for else ""
        table.add_row(each.label, str(each.images), percent(each.top1), span(each.interval), other)
    return (
        f"top-1 {percent(found.top1)} % ({span(found.top1_interval)}), "
        f"top-5 {percent(found.top5)} % ({span(found.top5_interval)}), "
        f"mean per class {percent(found.mean_per_class)} %, calibration error {percent(found.calibration_error)} %, "
        f"{found.images} images"
    )


def write_segmented(found: SegmentationScores, table: Table) -> str:
    """Add one row per class to the table. Return the summary over all classes."""
    for name in ("class", "share of pixels", "IoU", "accuracy"):
        table.add_column(name)
    total = sum(each.pixels for each in found.classes)
    for each in found.classes:
        if each.iou is not None:
            table.add_row(each.label, percent(each.pixels / total), percent(each.iou), percent(each.accuracy))
    return (
        f"mIoU {percent(found.miou)} % ({span(found.miou_interval)}), "
        f"pixel accuracy {percent(found.pixel_accuracy)} %, mean accuracy {percent(found.mean_accuracy)} %, "
        f"{found.images} images"
    )


def write_detected(found: DetectionScores, table: Table) -> str:
    """Add one row per class to the table. Return the summary over all classes."""
    for name in ("class", "objects", "box AP", "AP50", *(("mask AP", "AP50") if found.mask else ())):
        table.add_column(name)
    for each in sorted(found.classes, key=lambda each: -each.box):
        masks = (percent(each.mask), percent(each.mask50)) if found.mask else ()
        table.add_row(each.label, str(each.objects), percent(each.box), percent(each.box50), *masks)
    masks_too = f"; masks: {precision(found.mask)}" if found.mask else ""
    return f"boxes: {precision(found.box)}{masks_too}; {found.images} images"


def precision(found: Precision) -> str:
    """Return the figures of COCO's evaluation in percent."""
    by_size = zip(("small", "medium", "large"), (found.small, found.medium, found.large), strict=True)
    sizes = ", ".join(f"{name} {percent(value)}" for name, value in by_size if value >= 0)
    return f"AP {percent(found.ap)} %, AP50 {percent(found.ap50)} %, AP75 {percent(found.ap75)} % ({sizes})"


def percent(share: float | None) -> str:
    """Format a proportion as a percentage with one decimal."""
    return "" if share is None else f"{share * 100:.1f}"


def span(interval: Interval) -> str:
    """Format an interval in percent."""
    return f"{percent(interval[0])} to {percent(interval[1])}"
