"""The OpenVINO backend for CPUs: conversion, normalisation in the graph, programs per shape, and batches.

A program is the graph compiled for one shape of its input, or for all. A fixed shape runs faster, since the sizes of
all windows are known when it is compiled.

Legend: B batch · C channels · H W image
"""

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from twins.card import Card, Normalisation
from twins.errors import DeviceMissing, DeviceOutOfMemory, NonFiniteOutput
from twins.runtime.backend import NON_FINITE, Device, ErrorTable, Finished, device_error
from twins.runtime.export import EveryOutput, trace
from twins.runtime.plan import BackendName, Plan
from twins.runtime.reduce import REDUCTIONS
from twins.tasks import TASKS
from twins.tasks.sample import Output, Sample
from twins.zoo.loading import Loaded, load
from twins.zoo.models import ModelReference

# OpenVINO reports its use to its makers when it is imported, unless this package is missing.
sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
import openvino  # noqa: E402
from openvino.preprocess import PrePostProcessor  # noqa: E402

DEVICE_ERRORS: ErrorTable = (
    (MemoryError, "", DeviceOutOfMemory),
    (RuntimeError, "bad_alloc|[Cc]annot allocate memory|out of memory|could not create a memory", DeviceOutOfMemory),
)

Shape = tuple[int, ...]
Key = tuple[str, Shape | None]  # the type of a program's input, and its shape; None for any shape

ANY_SHAPE = {"|u1": [-1, -1, -1, 3], "<f4": [-1, 3, -1, -1]}
"""By the type of the pixels: B H W C for an image, B C H W for the network's own input."""


class OpenVinoBackend:
    """OpenVINO on the CPU."""

    name: BackendName = "openvino"

    def __init__(self, plan: Plan) -> None:
        """Raise DeviceMissing unless the device is a CPU."""
        if plan.device != "cpu":
            raise DeviceMissing(f"the backend {self.name} does not run on {plan.device}")
        self.device = Device(plan.device, "cpu", 1)
        self.config = {
            "INFERENCE_NUM_THREADS": plan.threads,
            "INFERENCE_PRECISION_HINT": "f32",
            "PERFORMANCE_HINT": "LATENCY",  # one request at a time uses all threads
            "NUM_STREAMS": 1,
            "ENABLE_CPU_PINNING": False,  # other processes have the same cores
        }
        self.core = openvino.Core()

    def load(self, reference: ModelReference, *, labels_file: Path | None = None) -> "OpenVinoModel":
        """Load a model. Raise TwinsError."""
        loaded = load(reference, labels_file=labels_file)
        with device_errors():
            return OpenVinoModel(loaded, self)

    def compile(self, graph: openvino.Model) -> openvino.CompiledModel:
        """Return a program for the CPU."""
        return self.core.compile_model(graph, "CPU", self.config)

    def memory_bytes(self) -> Mapping[str, int]:
        """Return nothing: the memory of a CPU is that of the process."""
        return {}


class OpenVinoModel:
    """One graph on the CPU, and its programs."""

    def __init__(self, loaded: Loaded, backend: OpenVinoBackend) -> None:
        self.card: Card = loaded.card
        self.backend = backend
        self.graph = convert(loaded)
        self.programs: dict[Key, openvino.InferRequest] = {}
        if self.card.geometry.crop is None:  # images of many sizes will come
            self.program(("|u1", None))

    def program(self, key: Key) -> openvino.InferRequest:
        """Return the program for an input, compiled if there is none yet."""
        if key not in self.programs:
            kind, shape = key
            graph = with_input(self.graph, kind, self.card.normalisation)
            graph.reshape(list(shape) if shape else ANY_SHAPE[kind])
            self.programs[key] = self.backend.compile(graph).create_infer_request()
        return self.programs[key]

    def warm_up(self, batch_size: int) -> None:
        """Compile a program for blank batches of that size, and run it. Raise DeviceError."""
        blank = [TASKS[self.card.task].blank(self.card)] * batch_size
        with device_errors():
            self.program(key_of(blank))
        self.run(blank)

    def run(self, samples: Sequence[Sample]) -> list[Output | NonFiniteOutput]:
        """Return an output or an error for each sample, in order; all samples have one layout.

        Raise DeviceOutOfMemory if the batch is too large for the device.
        """
        with device_errors():
            return [found for part in self.parts(samples) for found in self.run_part(part)]

    def submit(self, samples: Sequence[Sample]) -> Finished:
        """Run a batch as `run` does."""
        return Finished(self.run(samples))

    def parts(self, samples: Sequence[Sample]) -> Iterator[Sequence[Sample]]:
        """Yield the samples in parts, each as large as a program of a fixed shape takes, or all of them at once."""
        rest = samples
        while rest:
            sizes = (size for size in range(len(rest), 0, -1) if key_of(rest[:size]) in self.programs)
            size = next(sizes, len(rest))
            yield rest[:size]
            rest = rest[size:]

    def run_part(self, samples: Sequence[Sample]) -> list[Output | NonFiniteOutput]:
        """Return an output or an error for each sample, from one run of a program."""
        reduction = REDUCTIONS[samples[0].task]
        output = self.infer(samples, reduction.method)
        finite = [bool(np.isfinite(each).all()) for each in output]
        reduced = reduction.reduce(torch.from_numpy(output), samples)
        return [
            Output(tuple(tensor.numpy().copy() for tensor in tensors)) if good else NonFiniteOutput(NON_FINITE)
            for tensors, good in zip(reduced, finite, strict=True)
        ]

    def infer(self, samples: Sequence[Sample], method: str) -> NDArray[np.float32]:
        """Return the output of a method of the network, in memory that the next run overwrites."""
        key = key_of(samples)
        request = self.program(key if key in self.programs else (key[0], None))
        given = request.get_input_tensor()
        given.shape = key[1]
        np.stack([sample.pixels for sample in samples], out=given.data)
        request.infer()
        output: NDArray[np.float32] = request.get_tensor(method).data
        return output

    def unload(self) -> None:
        """Free the memory of the graph and its programs. The model cannot run after that."""
        self.programs.clear()
        del self.graph


def key_of(samples: Sequence[Sample]) -> Key:
    """Return the key of the program with a fixed shape for a batch."""
    pixels = samples[0].pixels
    return pixels.dtype.str, (len(samples), *pixels.shape)


def convert(loaded: Loaded) -> openvino.Model:
    """Return the graph of a network. Its input is that of the network, and its outputs have the methods' names."""
    network = EveryOutput(loaded.network)
    graph = openvino.convert_model(trace(network))
    graph.reshape(ANY_SHAPE["<f4"])
    for output, name in zip(graph.outputs, network.names, strict=True):
        output.get_tensor().set_names({name})
    return graph


def with_input(graph: openvino.Model, kind: str, scale: Normalisation) -> openvino.Model:
    """Return a copy of the graph whose input has this type. An image is normalised in the graph."""
    if np.dtype(kind) == np.float32:
        return graph.clone()
    steps = PrePostProcessor(graph.clone())
    given = steps.input()
    given.tensor().set_element_type(openvino.Type.u8).set_layout(openvino.Layout("NHWC"))
    given.model().set_layout(openvino.Layout("NCHW"))
    mean, std = ([255 * value for value in values] for values in (scale.mean, scale.std))
    given.preprocess().convert_element_type(openvino.Type.f32).mean(mean).scale(std)
    return steps.build()


@contextmanager
def device_errors() -> Iterator[None]:
    """Raise OpenVINO's errors about the device as DeviceError; others pass unchanged."""
    try:
        yield
    except Exception as error:
        if failure := device_error(error, DEVICE_ERRORS):
            raise failure from error
        raise
