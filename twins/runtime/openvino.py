"""The OpenVINO backend for CPUs: normalisation in the graph, programs per shape, and batches.

A program is the graph compiled for one shape of its input, or for all. A fixed shape runs faster, since the sizes of
all windows are known when it is compiled. This module does not import PyTorch; an export does.

Legend: B batch · C channels · H W image
"""

import sys
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

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
MOST_VALUES_OF_A_LANE = 2**17  # the same for a part that has a lane of several
MOST_LANES = 8  # each has memory of its own for what is between the layers

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
            "INFERENCE_PRECISION_HINT": "f32",
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

    def compile(self, graph: openvino.Model, settings: Mapping[str, int]) -> openvino.CompiledModel:
        """Return a program for the CPU. The settings are added to those of all programs."""
        return self.core.compile_model(graph, "CPU", {**self.config, **settings})

    def memory_bytes(self) -> Mapping[str, int]:
        """Return nothing: the memory of a CPU is that of the process."""
        return {}


@dataclass(frozen=True)
class Lanes:
    """Programs for batches of fixed shapes. Threads are divided among lanes, and each lane runs a part of a batch."""

    count: int
    threads: int  # of all lanes together; 0 means what OpenVINO takes
    most_values: int  # of the first map of a part
    programs: dict[Key, Sequence[openvino.InferRequest]] = field(default_factory=dict)
    """The requests of a program, one for each lane."""

    def largest_part(self, values: int) -> int:
        """Return how many samples run together, with so many values in their first map; 0 if not even one should."""
        return self.most_values // values

    def part_size(self, samples: Sequence[Sample], largest: int) -> int:
        """Return the size of the first part of a batch: one that is compiled if there is any, and fits all lanes."""
        most = min(-(-len(samples) // self.count), largest)
        return next((size for size in range(most, 0, -1) if key_of(samples[:size]) in self.programs), most)


class OpenVinoModel:
    """One graph on the CPU, and its programs."""

    def __init__(self, card: Card, graph: openvino.Model, backend: OpenVinoBackend) -> None:
        self.card, self.graph, self.backend = card, graph, backend
        self.width = first_width(graph)
        self.wide, self.narrow = lanes(backend.plan)
        self.recurring = Recurring(partial(self.compile, lanes=self.wide))  # images of sizes that keep coming
        if self.card.geometry.crop is None:  # images of many sizes will come
            self.program((IMAGE, None), self.wide)

    @cached_property
    def graphs(self) -> Mapping[str, openvino.Model]:
        """Return the graph for each type of its input. An image is normalised in the graph."""
        return {TENSOR: self.graph, IMAGE: for_images(self.graph, self.card.normalisation)}

    def program(self, key: Key, lanes: Lanes) -> Sequence[openvino.InferRequest]:
        """Return the requests of the program for an input, compiled if there is none yet."""
        if key not in lanes.programs:
            lanes.programs[key] = self.compile(key, lanes)
        return lanes.programs[key]

    def compile(self, key: Key, lanes: Lanes) -> Sequence[openvino.InferRequest]:
        """Return the requests of a new program for an input."""
        kind, shape = key
        graph = self.graphs[kind].clone()
        graph.reshape(list(shape) if shape else ANY_SHAPE[kind])
        settings = {"NUM_STREAMS": lanes.count, "INFERENCE_NUM_THREADS": lanes.threads}
        program = self.backend.compile(graph, settings if shape else {**settings, **CACHE_PER_SHAPE})
        return [program.create_infer_request() for _ in range(lanes.count)]

    def warm_up(self, batch_size: int) -> None:
        """Compile a program for blank batches of that size unless they run in parts, and run it. Raise DeviceError."""
        blank = [TASKS[self.card.task].blank(self.card)] * batch_size
        lanes = self.narrow if self.is_small(blank[0]) else self.wide
        size = -(-batch_size // lanes.count)
        with device_errors(DEVICE_ERRORS):
            if size <= lanes.largest_part(self.first_values(blank[0])):
                self.program(key_of(blank[:size]), lanes)
        self.run(blank)

    def run(self, samples: Sequence[Sample]) -> list[Output | NonFiniteOutput]:
        """Return an output or an error for each sample, in order; all samples have one layout.

        Raise DeviceOutOfMemory if the batch is too large for the device.
        """
        found: list[Output | NonFiniteOutput] = []
        running: deque[tuple[Sequence[Sample], openvino.InferRequest]] = deque()
        lanes = self.narrow if key_of(samples[:1]) in self.narrow.programs else self.wide
        with device_errors(DEVICE_ERRORS):
            for number, part in enumerate(self.parts(samples, lanes)):
                if len(running) == lanes.count:
                    found += self.finish(*running.popleft())
                running.append((part, self.start(part, lanes, number)))
            for each in running:
                found += self.finish(*each)
        return found

    def submit(self, samples: Sequence[Sample]) -> Finished:
        """Run a batch as `run` does."""
        return Finished(self.run(samples))

    def is_small(self, sample: Sample) -> bool:
        """Return whether samples of that shape are better divided among lanes than among threads."""
        return self.narrow.largest_part(self.first_values(sample)) > 0

    def parts(self, samples: Sequence[Sample], lanes: Lanes) -> Iterator[Sequence[Sample]]:
        """Yield the samples in parts, each as large as a program of a fixed shape takes, or as large as is fast."""
        rest, largest = samples, max(1, lanes.largest_part(self.first_values(samples[0])))
        while rest:
            size = lanes.part_size(rest, largest)
            yield rest[:size]
            rest = rest[size:]

    def first_values(self, sample: Sample) -> int:
        """Return how many values the first map of the network has for a sample."""
        height, width = sample.input_size
        return max(1, height * width * self.width // STRIDE**2)

    def start(self, samples: Sequence[Sample], lanes: Lanes, number: int) -> openvino.InferRequest:
        """Start a part of a batch, and return its request. The parts take turns in the lanes."""
        key = key_of(samples)
        requests = lanes.programs.get(key) or self.recurring.find(key) or self.program((key[0], None), self.wide)
        request = requests[number % len(requests)]
        given = request.get_input_tensor()
        given.shape = key[1]
        np.stack([sample.pixels for sample in samples], out=given.data)
        request.start_async()
        return request

    def finish(self, samples: Sequence[Sample], request: openvino.InferRequest) -> list[Output | NonFiniteOutput]:
        """Wait for a part of a batch, and return its outputs."""
        request.wait()
        return outputs_on_host(samples, lambda _, method: request.get_tensor(method).data)

    def unload(self) -> None:
        """Free the memory of the graph and its programs. The model cannot run after that."""
        self.recurring.close()
        for lanes in (self.wide, self.narrow):
            lanes.programs.clear()
        self.__dict__.pop("graphs", None)
        del self.graph


def lanes(plan: Plan) -> tuple[Lanes, Lanes]:
    """Return one lane with all threads, and the lanes for small images, which are none unless the plan asks for them.

    Several threads take more time of the processor in all for a small image than one thread does.
    """
    most_values = MOST_VALUES_OF_A_LANE if plan.small_threads else 0
    narrow = Lanes(max(1, min(MOST_LANES, plan.small_threads)), plan.small_threads, most_values)
    return Lanes(1, plan.threads, MOST_VALUES), narrow


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
