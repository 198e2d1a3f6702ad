"""Compare networks of eight bits with those of 32: `python -m bench.models.int8`.

`--classify` and `--segment`, or the variables BENCH_CLASSIFY and BENCH_SEGMENT with a colon between both folders, name
the images that calibrate the model of that task, and those that `twins evaluate` measures. Without them the networks
are calibrated with random images, and only their speed is measured. Both forms of a network take turns in one process.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path

import click
import numpy as np
from PIL import Image

from bench.models.cells import turns
from bench.result import Result, Row, Target, machine, quick_option, versions
from service.cores import available
from tools.documents import ROOT
from twins.running import Precision
from twins.runtime.backend import Model
from twins.runtime.choice import open_backend
from twins.runtime.plan import Plan
from twins.tasks import TASKS
from twins.zoo.models import DEFAULT_MODELS, ModelReference

FACTOR, VNNI = 1.8, {"avx512_vnni", "avx_vnni", "amx_int8"}
"""What is asked for where the processor has one of these instructions, which multiply bytes."""
POINTS = 0.5  # of the accuracy that may be lost
BATCHES = (1, 8)
PRECISIONS: tuple[Precision, ...] = ("float32", "int8")
ACCURACY = {"classify": ("top-1", "top1"), "segment": ("mIoU", "miou")}
"""The name of the accuracy, and its key in what `twins evaluate` prints."""
RANDOM_IMAGES = 20

Folders = tuple[Path, Path]
"""The images for the calibration, and those that are evaluated."""


def speeds(task: str, calibration: Path, seconds: float) -> Iterator[Row]:
    """Yield a row for each batch size: the images a second of both forms of the task's model."""
    models = {precision: opened(task, precision, calibration) for precision in PRECISIONS}
    card = models["int8"].card
    for size in BATCHES:
        batch = [TASKS[task].blank(card)] * size
        for model in models.values():
            model.warm_up(size)
        runs: Mapping[str, Callable[[], object]] = {name: partial(each.run, batch) for name, each in models.items()}
        rates = {name: size / took_s for name, took_s in turns(runs, seconds).items()}
        yield {
            "table": "speed",
            "model": card.name,
            "batch": size,
            **{f"{name}, images/s": rate for name, rate in rates.items()},
            "ratio": rates["int8"] / rates["float32"],
        }


def opened(task: str, precision: Precision, calibration: Path) -> Model:
    """Return the model of a task in a precision, on all cores."""
    plan = Plan("cpu", precision, "openvino", available(), calibration if precision == "int8" else None)
    return open_backend(plan).load(ModelReference(DEFAULT_MODELS[task]))


def accuracies(task: str, folders: Folders) -> Row:
    """Return the accuracy of both forms of the task's model."""
    calibration, evaluated = folders
    name, key = ACCURACY[task]
    found = {}
    for precision in PRECISIONS:
        options = ["--precision", precision] + ["--calibration", str(calibration)] * (precision == "int8")
        command = ["evaluate", "--model", DEFAULT_MODELS[task], "--json", *options, str(evaluated)]
        done = subprocess.run(
            [sys.executable, "-m", "service.cli", *command], cwd=ROOT, stdout=subprocess.PIPE, check=True
        )
        found[precision] = 100 * json.loads(done.stdout)["figures"][key]
    lost = found["float32"] - found["int8"]
    measured = {f"{precision}, %": value for precision, value in found.items()}
    return {"table": "accuracy", "model": DEFAULT_MODELS[task], "accuracy": name, **measured, "lost, points": lost}


def speed_target(rows: list[Row]) -> Target:
    """Return the target of the speed, which only processors with such instructions can meet."""
    ratios = [float(row["ratio"] or 0) for row in rows]
    measured = f"{min(ratios):.2f} to {max(ratios):.2f} ×"
    if not VNNI & set(machine()["flags"]):
        return Target(
            "Forward pass in int8 beside float32, with VNNI", f"at least {FACTOR} ×", f"{measured}, without", None
        )
    return Target("Forward pass in int8 beside float32", f"at least {FACTOR} ×", measured, min(ratios) >= FACTOR)


def accuracy_target(row: Row) -> Target:
    """Return the target of the accuracy."""
    lost = float(row["lost, points"] or 0)
    text = f"{row['accuracy']} that {row['model']} loses in int8"
    return Target(text, f"at most {POINTS} points", f"{lost:.2f} points", lost <= POINTS)


def write_random_images(folder: Path) -> Path:
    """Write some images of noise, and return the folder."""
    rng = np.random.default_rng(0)
    for number in range(RANDOM_IMAGES):
        Image.fromarray(rng.integers(0, 256, (224, 224, 3), np.uint8)).save(folder / f"{number}.png")
    return folder


folder_pair = partial(click.option, nargs=2, type=click.Path(exists=True, file_okay=False, path_type=Path))


@click.command()
@quick_option
@folder_pair("--classify", envvar="BENCH_CLASSIFY", help="Folders that calibrate and evaluate the classifier.")
@folder_pair("--segment", envvar="BENCH_SEGMENT", help="Folders that calibrate and evaluate the segmentation network.")
def main(*, quick: bool, **given: Folders | None) -> None:
    """Measure, print and write the figures."""
    with tempfile.TemporaryDirectory() as folder:
        random = write_random_images(Path(folder))
        seconds = 2.0 if quick else 8.0
        speed = [row for task, pair in given.items() for row in speeds(task, pair[0] if pair else random, seconds)]
    accuracy = [accuracies(task, pair) for task, pair in given.items() if pair]
    targets = [speed_target(speed), *map(accuracy_target, accuracy)]
    result = Result("int8", [*speed, *accuracy], targets, versions(("nncf",)))
    result.show()
    result.save(quick=quick)


if __name__ == "__main__":
    main()
