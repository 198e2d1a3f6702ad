"""The OpenVINO backend for CPUs: normalisation in the graph, programs per shape, and batches.

A program is the graph compiled for one shape of its input, or for all. A fixed shape runs faster, since the sizes of
all windows are known when it is compiled. This module does not import PyTorch; an export does.

Legend: B batch · C channels · H W image
"""

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from twins.card import Card, Normalisation
from twins.errors import DeviceMissing, DeviceOutOfMemory, NonFiniteOutput
from twins.runtime import exports
from twins.runtime.backend import Device, ErrorTable, Finished, device_errors
from twins.runtime.calibration import Calibration
from twins.runtime.host import outputs_on_host
from twins.runtime.plan import BackendName, Plan
from twins.runtime.recurring import Recurring
from twins.tasks import TASKS
from twins.tasks.sample import Output, Sample
from twins.zoo.models import ModelReference

if TYPE_CHECKING:
    from torch import nn

# OpenVINO reports its use to its makers when it is imported, unless this package is missing.
sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
import openvino  # noqa: E402
from openvino.preprocess import PrePostProcessor  # noqa: E402

DEVICE_ERRORS: ErrorTable = (
    (MemoryError, "", DeviceOutOfMemory),
    (RuntimeError, "bad_alloc|[Cc]annot allocate memory|out of memory|could not create a memory", DeviceOutOfMemory),
)

CACHE_PER_SHAPE = {"CPU_RUNTIME_CACHE_CAPACITY": 0}
"""For programs of any shape. What OpenVINO 2026.4 keeps of one shape there makes the outputs at another shape wrong."""

Shape = tuple[int, ...]
Key = tuple[str, Shape | None]  # the type of a program's input, and its shape; None for any shape

IMAGE, TENSOR = "|u1", "<f4"  # the types of an input: an image, B H W C; the network's own input, B C H W
STRIDE = 4  # of the first map of the network

MOST_VALUES = 2**20  # of the first map of a part of a batch. Larger maps leave the processor's cache and run slower.

ANY_SHAPE = {IMAGE: [-1, -1, -1, 3], TENSOR: [-1, 3, -1, -1]}


class OpenVinoFormat:
    """Networks in OpenVINO's format. Their input is that of the network; each output has the name of its method."""

    code: tuple[str, ...] = ("runtime/openvino.py",)

    def __init__(self, core: openvino.Core) -> None:
        self.core = core
        self.name = f"openvino-{openvino.__version__}"

    def export(self, network: "nn.Module") -> openvino.Model:
        """Return the graph of a network. Raise ExportFailed."""
        from twins.runtime import export  # late, since it imports PyTorch

        recorded = export.EveryOutput(network)
        graph = openvino.convert_model(export.trace(recorded))
        graph.reshape(ANY_SHAPE[TENSOR])
        for output, name in zip(graph.outputs, recorded.names, strict=True):
            output.get_tensor().set_names({name})
        program = self.core.compile_model(graph, "CPU", {"INFERENCE_PRECISION_HINT": "f32", **CACHE_PER_SHAPE})
        export.check(recorded, lambda x: list(program([x]).values()))
        return graph

    def save(self, graph: openvino.Model, folder: Path) -> None:
        """Write the graph and its weights. Raise OSError."""
        save_graph(graph, folder / "graph.xml")

    def open(self, folder: Path) -> openvino.Model:
        """Read the graph. Its weights are mapped into memory. Raise OSError."""
        try:
            return self.core.read_model(folder / "graph.xml")
        except RuntimeError as error:
            raise OSError(str(error).strip().rpartition("\n")[2]) from error


def save_graph(graph: openvino.Model, path: Path) -> None:
    """Write a graph, and its weights beside it. Raise OSError."""
    try:
        openvino.save_model(graph, path, compress_to_fp16=False)
    except RuntimeError as error:
        raise OSError(str(error).strip().rpartition("\n")[2]) from error


class OpenVinoBackend:
    """OpenVINO on the CPU."""

    name: BackendName = "openvino"

    def __init__(self, plan: Plan) -> None:
        """Raise DeviceMissing unless the device is a CPU."""
        if plan.device != "cpu":
            raise DeviceMissing(f"the backend {self.name} does not run on {plan.device}")
        self.device = Device(plan.device, "cpu", 1, warms_up_aside=True)
        self.plan = plan
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
        with device_errors(DEVICE_ERRORS):
            card, graph = exports.load_exported(reference, OpenVinoFormat(self.core), labels_file=labels_file)
            if self.plan.precision == "int8":
                card, graph = self.load_int8(reference, card, labels_file)
            return OpenVinoModel(card, graph, self)

    def load_int8(self, reference: ModelReference, card: Card, labels_file: Path | None) -> tuple[Card, openvino.Model]:
        """Return the card and the graph of a model in eight bits. Raise TwinsError."""
        from twins.runtime.quantisation import Int8Format  # late, since it imports this module

        assert self.plan.calibration, "checked by `twins.runtime.choice.check_int8`"
        format_ = Int8Format(self.core, Calibration(self.plan.calibration, card))
        card, graph = exports.load_exported(reference, format_, labels_file=labels_file)
        return replace(card, precision="int8"), graph

    def compile(self, graph: openvino.Model, settings: Mapping[str, int]) -> openvino.InferRequest:
        """Return a program for the CPU. The settings are added to those of all programs."""
        return self.core.compile_model(graph, "CPU", {**self.config, **settings}).create_infer_request()

    def memory_bytes(self) -> Mapping[str, int]:
        """Return nothing: the memory of a CPU is that of the process."""
        return {}


class OpenVinoModel:
    """One graph on the CPU, and its programs."""

    def __init__(self, card: Card, graph: openvino.Model, backend: OpenVinoBackend) -> None:
        self.card, self.graph, self.backend = card, graph, backend
        self.width = first_width(graph)
        self.programs: dict[Key, openvino.InferRequest] = {}
        self.recurring = Recurring(self.compile)  # images of sizes that keep coming
        if self.card.geometry.crop is None:  # images of many sizes will come
            self.program((IMAGE, None))

    @cached_property
    def graphs(self) -> Mapping[str, openvino.Model]:
        """Return the graph for each type of its input. An image is normalised in the graph."""
        return {TENSOR: self.graph, IMAGE: for_images(self.graph, self.card.normalisation)}

    def program(self, key: Key) -> openvino.InferRequest:
        """Return the program for an input, compiled if there is none yet."""
        if key not in self.programs:
            self.programs[key] = self.compile(key)
        return self.programs[key]

    def compile(self, key: Key) -> openvino.InferRequest:
        """Return a new program for an input."""
        kind, shape = key
        graph = self.graphs[kind].clone()
        graph.reshape(list(shape) if shape else ANY_SHAPE[kind])
        return self.backend.compile(graph, {} if shape else CACHE_PER_SHAPE)

    def warm_up(self, batch_size: int) -> None:
        """Compile a program for blank batches of that size unless they run in parts, and run it. Raise DeviceError."""
        blank = [TASKS[self.card.task].blank(self.card)] * batch_size
        with device_errors(DEVICE_ERRORS):
            if batch_size <= self.largest_part(blank[0]):
                self.program(key_of(blank))
        self.run(blank)

    def run(self, samples: Sequence[Sample]) -> list[Output | NonFiniteOutput]:
        """Return an output or an error for each sample, in order; all samples have one layout.

        Raise DeviceOutOfMemory if the batch is too large for the device.
        """
        with device_errors(DEVICE_ERRORS):
            return [found for part in self.parts(samples) for found in outputs_on_host(part, self.infer)]

    def submit(self, samples: Sequence[Sample]) -> Finished:
        """Run a batch as `run` does."""
        return Finished(self.run(samples))

    def parts(self, samples: Sequence[Sample]) -> Iterator[Sequence[Sample]]:
        """Yield the samples in parts, each as large as a program of a fixed shape takes, or as large as is fast."""
        rest, largest = samples, self.largest_part(samples[0])
        while rest:
            most = min(len(rest), largest)
            sizes = (size for size in range(most, 0, -1) if key_of(rest[:size]) in self.programs)
            size = next(sizes, most)
            yield rest[:size]
            rest = rest[size:]

    def largest_part(self, sample: Sample) -> int:
        """Return how many samples of this shape run together without slowing each other down."""
        height, width = sample.input_size
        return max(1, MOST_VALUES * STRIDE**2 // (height * width * self.width))

    def infer(self, samples: Sequence[Sample], method: str) -> NDArray[np.float32]:
        """Return the output of a method of the network, in memory that the next run overwrites."""
        key = key_of(samples)
        request = self.programs.get(key) or self.recurring.find(key) or self.program((key[0], None))
        given = request.get_input_tensor()
        given.shape = key[1]
        np.stack([sample.pixels for sample in samples], out=given.data)
        request.infer()
        output: NDArray[np.float32] = request.get_tensor(method).data
        return output

    def unload(self) -> None:
        """Free the memory of the graph and its programs. The model cannot run after that."""
        self.recurring.close()
        self.programs.clear()
        self.__dict__.pop("graphs", None)
        del self.graph


def key_of(samples: Sequence[Sample]) -> Key:
    """Return the key of the program with a fixed shape for a batch."""
    pixels = samples[0].pixels
    return pixels.dtype.str, (len(samples), *pixels.shape)


def first_width(graph: openvino.Model) -> int:
    """Return the channels of the first map, from the convolution of the first patch embedding."""
    first = next(each for each in graph.get_ordered_ops() if each.get_type_name() == "Convolution")
    return int(first.get_output_partial_shape(0)[1].get_length())


def for_images(graph: openvino.Model, scale: Normalisation) -> openvino.Model:
    """Return a copy of the graph whose input is a batch of images, B H W C uint8."""
    steps = PrePostProcessor(graph.clone())
    given = steps.input()
    given.tensor().set_element_type(openvino.Type.u8).set_layout(openvino.Layout("NHWC"))
    given.model().set_layout(openvino.Layout("NCHW"))
    mean, std = ([255 * value for value in values] for values in (scale.mean, scale.std))
    given.preprocess().convert_element_type(openvino.Type.f32).mean(mean).scale(std)
    return steps.build()
