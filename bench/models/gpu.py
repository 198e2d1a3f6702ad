"""Measures the images a second of classifiers on a GPU, beside timm: `python -m bench.models.gpu`.

Ours starts from the pixels of samples in memory of the host and ends with outputs there, as a worker runs it. timm runs
its network alone, on a normalised batch that is on the device already, so that its figures are no less than a service
could reach. Both have the same precision and random weights of the same names. The contestants of a batch size take
turns, and the figure of each is its median. timm is left out if it is not installed: `pip install timm torchvision`.

Without a GPU it exits with code 2. `--device cpu --quick` runs all of it on a processor, whose figures mean nothing.
"""

import importlib.util
import statistics
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch

from bench.result import FOLDER, Result, Row, Target, versions
from twins.card import Card, Geometry, Label, Normalisation
from twins.network.heads.classify import Classifier
from twins.network.variants import VARIANTS, Family
from twins.running import Precision
from twins.runtime.backend import Model
from twins.runtime.cuda.model import StreamedModel
from twins.runtime.cuda.streams import CudaStreams
from twins.runtime.plan import Plan
from twins.runtime.torch import TorchModel
from twins.tasks.classify import ClassifyParams
from twins.tasks.sample import Sample
from twins.zoo.loading import Loaded, load
from twins.zoo.models import DEFAULT_MODELS, parse_reference

NANO = DEFAULT_MODELS["classify"]
MODELS = (NANO, "twins_svt_small", "twins_pcpvt_small", "twins_svt_large")
CLASSES = 1000
IN_FLIGHT = 2
PIPELINED = "ours, two in flight"

Contestant = Callable[[int], None]  # runs this many batches and waits for them


@dataclass(frozen=True)
class Effort:
    """What is measured, and for how long."""

    sizes: list[int]  # of the batches
    seconds: float  # of each contestant in a round
    rounds: int


def loaded(name: str) -> Loaded:
    """Return the model that ships, or one of the zoo with random weights."""
    if name == NANO:
        return load(parse_reference(name))
    variant = name.removeprefix("twins_")
    labels = tuple(Label(str(index)) for index in range(CLASSES))
    card = Card(
        name,
        "classify",
        variant,
        labels,
        Geometry(248, 224),
        Normalisation(),
        exif_orientation=True,
        source="random",
        licence="none",
    )
    torch.manual_seed(0)
    return Loaded(Classifier(VARIANTS[variant], Family(), CLASSES).eval(), card)


def ours(name: str, device: torch.device, precision: Precision, sizes: list[int]) -> Mapping[str, Model]:
    """Return our models, warmed up: with and without graphs on a GPU, and a plain one on a processor."""
    model = TorchModel(loaded(name), Plan(str(device), precision, "torch"))
    made: dict[str, Model] = {"ours": model}
    if device.type == "cuda":
        streams = CudaStreams(device)
        made = {"ours": StreamedModel(model, streams), "ours, no graphs": StreamedModel(model, streams, graphs=False)}
    for each in made.values():
        for size in sizes:
            each.warm_up(size)
    return made


def one_by_one(model: Model, samples: list[Sample]) -> Contestant:
    """Return a contestant that waits for each batch."""

    def run(count: int) -> None:
        for _ in range(count):
            model.run(samples)

    return run


def pipelined(model: Model, samples: list[Sample]) -> Contestant:
    """Return a contestant that submits the next batch before it waits for the last one."""

    def run(count: int) -> None:
        batches = deque(model.submit(samples) for _ in range(min(count, IN_FLIGHT)))
        for _ in range(count - len(batches)):
            batches.popleft().result()
            batches.append(model.submit(samples))
        while batches:
            batches.popleft().result()

    return run


def timm_contestants(
    name: str, device: torch.device, dtype: torch.dtype, *, compiled: bool
) -> dict[str, torch.nn.Module]:
    """Return timm's network, plain and compiled; none for the nano model, which timm does not have."""
    if name == NANO or importlib.util.find_spec("timm") is None:
        return {}
    import timm

    torch.manual_seed(0)
    network = timm.create_model(name, pretrained=False).eval().to(device, dtype)
    return {"timm": network, **({"timm, compiled": torch.compile(network, dynamic=False)} if compiled else {})}


def forwards(network: torch.nn.Module, batch: torch.Tensor) -> Contestant:
    """Return a contestant that runs a network on a batch of the device."""

    def run(count: int) -> None:
        with torch.inference_mode():
            for _ in range(count):
                network(batch)
            if batch.is_cuda:
                torch.cuda.synchronize(batch.device)

    return run


def take_turns(contestants: Mapping[str, Contestant], batch: int, effort: Effort) -> dict[str, list[float]]:
    """Return the images a second of each contestant in each round."""
    for contestant in contestants.values():
        contestant(2)  # compile, and choose algorithms
    found: dict[str, list[float]] = {label: [] for label in contestants}
    for _ in range(effort.rounds):
        for label, contestant in contestants.items():
            found[label].append(images_per_s(contestant, batch, effort.seconds))
    return found


def images_per_s(contestant: Contestant, batch: int, seconds: float) -> float:
    """Return how many images a second a contestant runs, over about this many seconds."""
    began = time.perf_counter()
    contestant(1)
    count = max(1, round(seconds / (time.perf_counter() - began)))
    began = time.perf_counter()
    contestant(count)
    return count * batch / (time.perf_counter() - began)


def measure(name: str, device: torch.device, precision: Precision, effort: Effort) -> Iterator[Row]:
    """Yield a row for each batch size and contestant of one model."""
    models = ours(name, device, precision, effort.sizes)
    plain = models["ours"].model if isinstance(models["ours"], StreamedModel) else models["ours"]
    networks = timm_contestants(name, device, plain.dtype, compiled=device.type == "cuda")
    height, width = plain.card.geometry.usual_size
    random = np.random.default_rng(0)
    for size in effort.sizes:
        pixels = random.integers(0, 256, (size, height, width, 3), np.uint8)
        samples = [Sample(each, ClassifyParams()) for each in pixels]
        batch = plain.normalise(torch.from_numpy(pixels))
        contestants = {label: one_by_one(model, samples) for label, model in models.items()}
        contestants[PIPELINED] = pipelined(models["ours"], samples)
        contestants |= {label: forwards(network, batch) for label, network in networks.items()}
        found = take_turns(contestants, size, effort)
        yield from (
            {
                "table": "forward",
                "model": name,
                "batch": size,
                "contestant": label,
                "images_per_s": statistics.median(v),
            }
            for label, v in found.items()
        )


def targets(rows: list[Row]) -> Iterator[Target]:
    """Yield for each model our best figure beside timm's."""
    for name in dict.fromkeys(str(row["model"]) for row in rows):
        best = {label: max_of(rows, name, label) for label in (PIPELINED, "timm", "timm, compiled")}
        if rivals := [value for label, value in best.items() if label != PIPELINED and value]:
            ratio = best[PIPELINED] / max(rivals)
            text = f"{name}: images a second at the best batch size, by those of timm's network alone"
            yield Target(text, "at least 1 ×", f"{ratio:.2f} ×", ratio >= 1)


def max_of(rows: list[Row], name: str, label: str) -> float:
    """Return the largest figure of a contestant; 0 if there is none."""
    return max((row["images_per_s"] for row in rows if (row["model"], row["contestant"]) == (name, label)), default=0.0)


def describe(device: torch.device) -> Row:
    """Return a row with what the figures depend on besides the machine."""
    if device.type != "cuda":
        return {"table": "device", "device": "cpu"}
    import pynvml

    pynvml.nvmlInit()
    return {
        "table": "device",
        "device": torch.cuda.get_device_name(device),
        "driver": str(pynvml.nvmlSystemGetDriverVersion()),
        "cuda": torch.version.cuda,
    }


@click.command()
@click.option("--device", default="cuda", show_default=True, help="cuda, cuda:N, or cpu to try the command.")
@click.option("--precision", default="auto", show_default=True, help="auto: bfloat16 on GPUs that have it.")
@click.option("--model", "names", multiple=True, type=click.Choice(MODELS), help="Measure this model only.")
@click.option("--max-batch", default=256, show_default=True, help="Measure batches of 1, 2, 4 and so on up to this.")
@click.option("--seconds", default=1.0, show_default=True, help="Measure each contestant for this long in a round.")
@click.option("--rounds", default=3, show_default=True, help="Let the contestants take this many turns.")
@click.option("--quick", is_flag=True, help="Measure the nano model for a moment.")
@click.option("--output", type=Path, help="Write gpu.json to this folder; by default to docs/benchmarks, for a GPU.")
def main(**options: Any) -> None:
    """Measure, print the tables and write the JSON file."""
    device = torch.device(options["device"])
    if device.type != "cpu" and not torch.cuda.is_available():
        raise click.UsageError("This machine has no NVIDIA GPU that PyTorch can use. --device cpu tries the command.")
    if importlib.util.find_spec("timm") is None:
        print("timm is not installed, so it is left out: pip install timm torchvision", file=sys.stderr)
    if options["quick"]:
        options |= {"names": (NANO,), "max_batch": 2, "seconds": 0.02, "rounds": 1}
    sizes = [2**power for power in range(options["max_batch"].bit_length())]
    effort = Effort(sizes, options["seconds"], options["rounds"])
    rows: list[Row] = []
    for name in options["names"] or MODELS:
        for row in measure(name, device, options["precision"], effort):
            rows.append(row)
            print(f"{row['model']:20} {row['batch']:4} {row['contestant']:22} {row['images_per_s']:10.1f}", flush=True)
    result = Result("gpu", [describe(device), *rows], list(targets(rows)), versions(("timm",)))
    result.show()
    if options["output"] or device.type != "cpu":
        print(result.save(options["output"] or FOLDER))


if __name__ == "__main__":
    main()
