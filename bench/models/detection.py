"""Detectors in batches: `python -m bench.models.detection`.

Each batch has equal images of the usual size, 800×1067 pixels. The weights are random, scaled so that there are objects
to find: that is the worst case for the second stage, which finds a thousand proposals in every image. All batch sizes
of a network take turns in one process.
"""

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import click
import numpy as np
import torch

from bench.models.cells import turns
from bench.models.networks import skeleton
from bench.result import Result, Row, quick_option
from service.cores import available
from tests.detection import SCALE_SHIFT, scaled
from tests.golden import seeded
from tests.golden.cases import seeded_state
from twins.runtime.choice import open_backend
from twins.runtime.plan import Plan
from twins.runtime.torch import TorchModel
from twins.tasks.detect import DetectParams
from twins.tasks.sample import Sample
from twins.zoo.models import ModelReference

MODELS = ("twins_svt_small_retinanet_coco", "twins_svt_small_maskrcnn_coco")
BATCHES = (1, 2, 4)


def opened(name: str, folder: Path) -> TorchModel:
    """Return a detector with random weights, on all cores."""
    shapes = [(key, tuple(value.shape)) for key, value in skeleton(name).state_dict().items()]
    path = folder / f"{name}.pth"
    torch.save({"state_dict": scaled(seeded_state(shapes), SCALE_SHIFT)}, path)
    model = open_backend(Plan("cpu", backend="torch", threads=available())).load(ModelReference(name, path))
    assert isinstance(model, TorchModel)
    path.unlink()
    return model


def rows(name: str, folder: Path, batches: Sequence[int], seconds: float) -> Iterator[Row]:
    """Yield a row for each batch size: the images a second, and the time of an image in the network alone."""
    model = opened(name, folder)
    height, width = model.card.geometry.usual_size
    sample = Sample(seeded.image("detection", height, width), DetectParams())
    runs: dict[str, Callable[[], object]] = {}
    for size in batches:
        pixels = torch.from_numpy(np.stack([sample.pixels] * size))
        runs[f"whole {size}"] = partial(model.run, [sample] * size)
        runs[f"network {size}"] = torch.inference_mode()(partial(model.forward, pixels, "detect"))
    took_s: Mapping[str, float] = turns(runs, seconds)
    for size in batches:
        yield {
            "table": "batches",
            "model": name,
            "batch": size,
            "images/s": size / took_s[f"whole {size}"],
            "whole, ms an image": 1000 * took_s[f"whole {size}"] / size,
            "network, ms an image": 1000 * took_s[f"network {size}"] / size,
            "beside batch 1": took_s[f"whole {batches[0]}"] * size / took_s[f"whole {size}"],
        }


@click.command()
@quick_option
def main(*, quick: bool) -> None:
    """Measure, print and write the figures."""
    with tempfile.TemporaryDirectory() as folder:
        found = [
            row
            for name in (MODELS[:1] if quick else MODELS)
            for row in rows(name, Path(folder), BATCHES[:2] if quick else BATCHES, 2.0 if quick else 15.0)
        ]
    result = Result("detection", found)
    result.show()
    result.save(quick=quick)


if __name__ == "__main__":
    main()
