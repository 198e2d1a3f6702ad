"""`twins evaluate`: measures a model on a folder of images with known labels, masks or objects."""

import sys
from pathlib import Path

import click
import msgspec

from service.cli.images import EXIT_SOME_FAILED, open_model
from service.cli.measures import How, measure
from service.cli.options import backend_option, calibration_option, device_option, precision_option
from service.cli.report import write
from twins.running import BackendChoice, Precision
from twins.runtime.plan import Plan


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
@click.option(
    "--multi-scale",
    is_flag=True,
    help="Segment every image at six sizes and mirrored, and take the mean scores; this runs on PyTorch",
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
    multi_scale: bool,
    device: str,
    backend: BackendChoice,
    precision: Precision,
    calibration: Path | None,
    batch: int,
    as_json: bool,
) -> None:
    """Measure the accuracy of a model on a folder of images with known labels, masks or objects.

    For a classifier FOLDER has a folder for each class, named as the class or by its synset, or is ImageNet's own
    validation folder, with Annotations/ or LOC_val_solution.csv above it. For a segmentation network it is ADE20K's own
    (images/validation, annotations/validation), or has images/ and masks/: PNG files of class ids, 255 for none. For a
    detector it is COCO's own: annotations/instances_val2017.json, or another such file, and val2017/ or images/.

    \b
    twins evaluate --model twins_svt_small ILSVRC/Data/CLS-LOC/val
    twins evaluate --model twins_svt_small_upernet_ade20k ADEChallengeData2016
    twins evaluate --model twins_svt_small_upernet_ade20k --multi-scale ADEChallengeData2016
    twins evaluate --model twins_svt_small_maskrcnn_coco=./mask_rcnn.pth coco/
    twins evaluate --model mine=./checkpoint.pth --json images/
    """  # noqa: D301 - click wants the control character
    if multi_scale and backend not in ("auto", "torch"):
        raise click.UsageError(f"--multi-scale runs on PyTorch, not on --backend {backend}")
    plan = Plan(device, precision, "torch" if multi_scale else backend, calibration=calibration)
    with open_model(model, labels, plan, batch=batch) as local:
        report = measure(folder, local, How(reduce_zero_label, multi_scale))
    click.echo(msgspec.json.encode(report)) if as_json else write(report)
    if report.failed:
        sys.exit(EXIT_SOME_FAILED)
