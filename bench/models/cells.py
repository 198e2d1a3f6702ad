"""Measure the cells of a job of `bench.models.forward`, in the environment `ours`: `python -m bench.models.cells JOB`.

Prints a list of rows as JSON in the last line: the images a second of each runtime and backend.
"""

import json
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from bench.models.forward import Job
from bench.models.networks import export_onnx, rival_network, weights
from twins.running import BackendName
from twins.runtime.backend import Model
from twins.runtime.choice import LIBRARIES, choose_backend, is_installed, open_backend
from twins.runtime.plan import Plan
from twins.tasks import TASKS
from twins.tasks.sample import Output, Sample

Array = NDArray[np.float32]
Forward = Callable[[Array], Array]

TOLERANCE = 2e-3  # of the standard deviation of PyTorch's output
SLOW = ("compile",)
"""Backends that take minutes to compile a network."""
PAUSE_S = 0.005  # between two runtimes, in which the threads of the last one stop spinning
TURN_S = 0.15  # how long one runtime has its turn
MINIMUM_TURNS = 3


class Rivals:
    """Other runtimes, with one network."""

    def __init__(self, job: Job) -> None:
        torch.set_num_threads(job.threads)
        self.job = job
        self.network = rival_network(job.model)
        self.onnx = export_onnx(job.model, job.size)
        self.graph = self.convert()

    def convert(self) -> Any:
        """Return the network in OpenVINO."""
        import openvino

        return openvino.convert_model(self.network, example_input=torch.randn(2, 3, *self.job.size))

    def forwards(self, batch: int) -> dict[str, Forward]:
        """Return the forward pass of each runtime for batches of this size."""
        return {
            "PyTorch": by_torch(self.network),
            "TorchScript": self.torch_script(batch),
            "ONNX Runtime": self.onnx_runtime(batch),
            "OpenVINO": self.openvino(batch),
        }

    def torch_script(self, batch: int) -> Forward:
        """Return the forward pass of the traced and frozen network."""
        with torch.inference_mode():
            traced = torch.jit.trace(self.network, torch.randn(batch, 3, *self.job.size))
            return by_torch(torch.jit.freeze(traced))

    def onnx_runtime(self, batch: int) -> Forward:
        """Return the forward pass of ONNX Runtime with a fixed batch size."""
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self.job.threads
        options.add_free_dimension_override_by_name("batch", batch)
        session = onnxruntime.InferenceSession(self.onnx, options, providers=["CPUExecutionProvider"])
        name = session.get_inputs()[0].name
        return lambda x: session.run(None, {name: x})[0]

    def openvino(self, batch: int) -> Forward:
        """Return the forward pass of OpenVINO with a fixed batch size."""
        import openvino

        graph = self.graph.clone()
        graph.reshape([batch, 3, *self.job.size])
        options = {"INFERENCE_NUM_THREADS": self.job.threads, "INFERENCE_PRECISION_HINT": "f32"}
        compiled = openvino.Core().compile_model(graph, "CPU", options)
        return lambda x: compiled(x)[0]


def by_torch(network: torch.nn.Module) -> Forward:
    """Return the forward pass of a module."""

    def forward(x: Array) -> Array:
        with torch.inference_mode():
            found: Array = network(torch.from_numpy(x)).numpy()
            return found

    return forward


def backends() -> list[BackendName]:
    """Return our backends for a CPU that are installed, the default one first."""
    default = choose_backend(Plan())
    others = [name for name, each in LIBRARIES.items() if "cpu" in each.devices and is_installed(name)]
    return [default, *(name for name in others if name not in (default, *SLOW))]


def open_models(job: Job) -> dict[BackendName, Model]:
    """Return our model on each backend."""
    reference = weights(job.model).reference
    return {name: open_backend(Plan(backend=name, threads=job.threads)).load(reference) for name in backends()}


def samples(model: Model, job: Job, batch: int) -> list[Sample]:
    """Return random samples of the size of the job."""
    params = TASKS[model.card.task].blank(model.card).params
    pixels = np.random.default_rng(batch).integers(0, 256, (batch, *job.size, 3), np.uint8)
    return [Sample(each, params) for each in pixels]


def normalised(batch: Sequence[Sample], model: Model) -> Array:
    """Return the samples as the rivals take them: B C H W."""
    scale = model.card.normalisation
    pixels = np.stack([each.pixels for each in batch]).astype(np.float32) / 255
    scaled = (pixels - np.array(scale.mean, np.float32)) / np.array(scale.std, np.float32)
    return np.ascontiguousarray(scaled.transpose(0, 3, 1, 2))


def check_rivals(forwards: Mapping[str, Forward], x: Array) -> None:
    """Compare the outputs of the runtimes with PyTorch's. Exit if one differs."""
    wanted = forwards["PyTorch"](x)
    for name, forward in forwards.items():
        worst = float(np.abs(forward(x) - wanted).max() / wanted.std())
        if worst > TOLERANCE:
            sys.exit(f"{name} differs from PyTorch by {worst:.1e} of the deviation")


def check_ours(models: Mapping[BackendName, Model], batch: Sequence[Sample], logits: Array) -> None:
    """Compare the outputs of our backends. Exit if a best class, or 1 in 1000 pixels of a mask, differs."""
    for name, model in models.items():
        for found, wanted in zip(model.run(batch), logits, strict=True):
            assert isinstance(found, Output), f"{name}: {found}"
            ids = found.arrays[0]
            if ids.ndim == 1 and int(ids[0]) != int(wanted.argmax()):
                sys.exit(f"the backend {name} finds class {ids[0]}, PyTorch {wanted.argmax()}")
    masks = [np.stack([each.arrays[0] for each in model.run(batch)]) for model in models.values()]  # type: ignore[union-attr]
    if masks[0].ndim > 2 and any((mask != masks[-1]).mean() > 1e-3 for mask in masks):
        sys.exit("the masks of the backends differ")


def turns(runs: Mapping[str, Callable[[], object]], seconds: float) -> dict[str, float]:
    """Return the median time of each, in seconds. All take turns."""
    took: dict[str, list[float]] = {name: [] for name in runs}
    end, number = time.perf_counter() + seconds, 0
    while time.perf_counter() < end or number < MINIMUM_TURNS:
        for name, run in runs.items():
            time.sleep(PAUSE_S)
            took[name] += turn(run)
        number += 1
    return {name: statistics.median(times) for name, times in took.items()}


def turn(run: Callable[[], object]) -> list[float]:
    """Return the times of some runs, without the first one, which finds the caches cold, unless it is long."""
    times: list[float] = []
    began = time.perf_counter()
    while not times or times[-1] - began < TURN_S:
        run()
        times.append(time.perf_counter())
    took = [end - start for start, end in pairwise([began, *times])]
    return took[1:] or took


def rows(job: Job) -> list[dict[str, Any]]:
    """Return a row for each batch size."""
    models, rivals = open_models(job), Rivals(job)
    return [row(job, batch, models, rivals.forwards(batch)) for batch in job.batches]


def row(job: Job, batch: int, models: Mapping[BackendName, Model], forwards: Mapping[str, Forward]) -> dict[str, Any]:
    """Return the images a second of each runtime and backend."""
    default = next(iter(models))
    given = samples(models[default], job, batch)
    x = normalised(given, models[default])
    check_rivals(forwards, x)
    for model in models.values():
        model.warm_up(batch)  # as a worker does for the sizes that it serves
    check_ours(models, given, forwards["PyTorch"](x))
    runs: dict[str, Callable[[], object]] = {
        **{name: partial(forward, x) for name, forward in forwards.items()},
        **{f"ours, {name}": partial(model.run, given) for name, model in models.items()},
    }
    rates = {name: batch / took_s for name, took_s in turns(runs, job.seconds).items()}
    ours = rates.pop(f"ours, {default}")
    head = {"model": job.model, "size": f"{job.size[0]}×{job.size[1]}", "threads": job.threads, "batch": batch}
    return {**head, "ours": ours, "backend": default, **rates}


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    given = json.loads(sys.argv[1])
    print(json.dumps(rows(Job(**{**given, "size": tuple(given["size"])}))))
