"""The OpenVINO backend for CPUs: normalisation in the graph, programs per shape, and batches.

A program is the graph compiled for one shape of its input, or for all. A fixed shape runs faster, since the sizes of
all windows are known when it is compiled. This module does not import PyTorch; an export does.

Legend: B batch · C channels · H W image
"""

import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from twins.card import Card, Normalisation
from twins.errors import DeviceMissing, DeviceOutOfMemory, NonFiniteOutput
from twins.running import BackendName
from twins.runtime import exports
from twins.runtime.backend import Device, ErrorTable, Finished, device_errors
from twins.runtime.calibration import Calibration
from twins.runtime.host import outputs_on_host
from twins.runtime.openvino_streams import STRIDE, Key, Streams, divide, ended, key_of
from twins.runtime.plan import Plan
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

IMAGE, TENSOR = "|u1", "<f4"  # the types of an input: an image, B H W C; the network's own input, B C H W
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
    except RuntimeError as error:  # of a full disk it says only "iostream error"
        why = str(error).strip().rpartition("\n")[2]
        raise OSError(f"{why}; {shutil.disk_usage(path.parent).free >> 20} MiB are free") from error


def prepare_types() -> None:
    """Make the binding's table of data types before several threads need it.

    The first thread that reads a tensor makes the table, and lets go of Python's lock meanwhile. A second thread that
    takes the lock and waits for the table stops the process for ever.
    """
    openvino.Tensor(openvino.Type.u8, [1]).data  # noqa: B018


class OpenVinoBackend:
    """OpenVINO on the CPU."""

    name: BackendName = "openvino"

    def __init__(self, plan: Plan) -> None:
        """Raise DeviceMissing unless the device is a CPU."""
        if plan.device != "cpu":
            raise DeviceMissing(f"the backend {self.name} does not run on {plan.device}")
        self.device = Device(plan.device, "cpu", 1, any_thread=True)
        self.plan = plan
        self.config = {
            "INFERENCE_PRECISION_HINT": "f32",
            "ENABLE_CPU_PINNING": False,  # other processes have the same cores
        }
        self.core = openvino.Core()
        prepare_types()

    def load(self, reference: ModelReference) -> "OpenVinoModel":
        """Load a model. Raise TwinsError."""
        with device_errors(DEVICE_ERRORS):
            card, graph = exports.load_exported(reference, OpenVinoFormat(self.core))
            if self.plan.precision == "int8":
                card, graph = self.load_int8(reference, card)
            return OpenVinoModel(replace(card, backend=self.name), graph, self)

    def load_int8(self, reference: ModelReference, card: Card) -> tuple[Card, openvino.Model]:
        """Return the card and the graph of a model in eight bits. Raise TwinsError."""
        from twins.runtime.quantisation import Int8Format  # late, since it imports this module

        assert self.plan.calibration, "checked by `twins.runtime.choice.check_int8`"
        format_ = Int8Format(self.core, Calibration(self.plan.calibration, card))
        card, graph = exports.load_exported(reference, format_)
        return replace(card, precision="int8"), graph

    def compile(self, graph: openvino.Model, settings: Mapping[str, int]) -> openvino.CompiledModel:
        """Return a program for the CPU. The settings are added to those of all programs."""
        return self.core.compile_model(graph, "CPU", {**self.config, **settings})

    def memory_bytes(self) -> Mapping[str, int]:
        """Return nothing: the memory of a CPU is that of the process."""
        return {}


class OpenVinoModel:
    """One graph on the CPU, and its programs."""

    def __init__(self, card: Card, graph: openvino.Model, backend: OpenVinoBackend) -> None:
        self.card, self.graph, self.backend = card, graph, backend
        self.width = first_width(graph)
        self.whole, self.small = divide(backend.plan)
        self.recurring = Recurring(partial(self.compile, streams=self.whole))  # images of sizes that keep coming
        if self.card.geometry.crop is None:  # images of many sizes will come
            self.program((IMAGE, None), self.whole)

    @cached_property
    def graphs(self) -> Mapping[str, openvino.Model]:
        """Return the graph for each type of its input. An image is normalised in the graph."""
        return {TENSOR: self.graph, IMAGE: for_images(self.graph, self.card.normalisation)}

    def program(self, key: Key, streams: Streams) -> Sequence[openvino.InferRequest]:
        """Return the requests of the program for an input, compiled if there is none yet."""
        if key not in streams.programs:
            streams.programs[key] = self.compile(key, streams)
        return streams.programs[key]

    def compile(self, key: Key, streams: Streams) -> Sequence[openvino.InferRequest]:
        """Return the requests of a new program for an input, one for each stream."""
        kind, shape = key
        graph = self.graphs[kind].clone()
        graph.reshape(list(shape) if shape else ANY_SHAPE[kind])
        settings = {"NUM_STREAMS": streams.count, "INFERENCE_NUM_THREADS": streams.threads}
        program = self.backend.compile(graph, settings if shape else {**settings, **CACHE_PER_SHAPE})
        return [program.create_infer_request() for _ in range(streams.count)]

    def warm_up(self, batch_size: int) -> None:
        """Compile a program for blank batches of that size unless they run in parts, and run it. Raise DeviceError."""
        blank = [TASKS[self.card.task].blank(self.card)] * batch_size
        values = self.first_values(blank[0])
        streams = self.small if self.small.largest_part(values) else self.whole
        size = streams.share(batch_size)
        with device_errors(DEVICE_ERRORS):
            if size <= streams.largest_part(values):
                self.program(key_of(blank[:size]), streams)
        self.run(blank)

    def run(self, samples: Sequence[Sample]) -> list[Output | NonFiniteOutput]:
        """Return an output or an error for each sample, in order; all samples have one layout.

        Raise DeviceOutOfMemory if the batch is too large for the device.
        """
        streams = self.small if key_of(samples[:1]) in self.small.programs else self.whole
        found: list[Output | NonFiniteOutput] = []
        with device_errors(DEVICE_ERRORS), ended() as running:
            for number, part in enumerate(streams.parts(samples, self.first_values(samples[0]))):
                if len(running) == streams.count:
                    found += self.finish(*running.popleft())
                running.append((part, self.start(part, streams, number)))
            while running:
                found += self.finish(*running.popleft())
        return found

    def submit(self, samples: Sequence[Sample]) -> Finished:
        """Run a batch as `run` does."""
        return Finished(self.run(samples))

    def first_values(self, sample: Sample) -> int:
        """Return how many values the first map of the network has for a sample."""
        height, width = sample.input_size
        return max(1, height * width * self.width // STRIDE**2)

    def start(self, samples: Sequence[Sample], streams: Streams, number: int) -> openvino.InferRequest:
        """Start a part of a batch, and return its request. The parts take turns in the streams."""
        key = key_of(samples)
        requests = streams.programs.get(key) or self.recurring.find(key) or self.program((key[0], None), self.whole)
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
        for streams in (self.whole, self.small):
            streams.programs.clear()
        self.__dict__.pop("graphs", None)
        del self.graph


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
