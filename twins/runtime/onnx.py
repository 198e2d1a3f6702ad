"""The ONNX Runtime backend: sessions for images and for the network's own input, and batches.

A session takes batches and images of any size. This module does not import PyTorch; an export does.

Legend: B batch · C channels · H W image
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

from twins.card import Card
from twins.errors import DeviceLost, DeviceMissing, DeviceOutOfMemory, NonFiniteOutput
from twins.running import BackendName
from twins.runtime import exports, onnx_graph
from twins.runtime.backend import Device, ErrorTable, Finished, device_errors
from twins.runtime.choice import gpu_count
from twins.runtime.host import outputs_on_host
from twins.runtime.plan import Plan
from twins.tasks import TASKS
from twins.tasks.sample import Output, Sample
from twins.zoo.models import ModelReference

if TYPE_CHECKING:
    from torch import nn

DEVICE_ERRORS: ErrorTable = (
    (MemoryError, "", DeviceOutOfMemory),
    (
        Exception,
        "bad_alloc|[Ff]ailed to allocate memory|out of memory|BFCArena::AllocateRawInternal",
        DeviceOutOfMemory,
    ),
    (Exception, "CUDA failure|CUDNN failure|CUBLAS failure", DeviceLost),
)


class OnnxFormat:
    """Networks as ONNX graphs. Their input is that of the network; each output has the name of its method."""

    name = "-".join(("onnx", onnxruntime.__version__, *map(version, ("onnx", "onnx-ir", "onnxscript"))))
    code: tuple[str, ...] = ("runtime/onnx_graph.py", "runtime/record.py")

    def export(self, network: "nn.Module") -> onnx.ModelProto:
        """Return the graph of a network. Raise ExportFailed."""
        from twins.runtime import export  # late, since it imports PyTorch

        recorded = export.EveryOutput(network)
        graph = onnx_graph.convert(recorded, recorded.names)
        session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
        export.check(recorded, lambda x: session.run(None, {onnx_graph.INPUT: x}))
        return graph

    def save(self, graph: onnx.ModelProto, folder: Path) -> None:
        """Write the graph. Raise OSError."""
        (folder / "graph.onnx").write_bytes(graph.SerializeToString())

    def open(self, folder: Path) -> onnx.ModelProto:
        """Read the graph. Raise OSError."""
        return onnx.load(folder / "graph.onnx")


class OnnxBackend:
    """ONNX Runtime on one device."""

    name: BackendName = "onnx"

    def __init__(self, plan: Plan) -> None:
        """Raise DeviceMissing unless ONNX Runtime has a provider for the device."""
        kind, _, index = plan.device.partition(":")
        self.providers: list[tuple[str, dict[str, str]]] = [("CPUExecutionProvider", {})]
        if kind == "cuda":
            self.providers.insert(0, ("CUDAExecutionProvider", {"device_id": index or "0"}))
        if self.providers[0][0] not in onnxruntime.get_available_providers():
            raise DeviceMissing(f"the installed ONNX Runtime does not run on {plan.device}; install onnxruntime-gpu")
        self.device = Device(plan.device, "cuda", gpu_count()) if kind == "cuda" else Device(plan.device, "cpu", 1)
        self.options = onnxruntime.SessionOptions()
        self.options.intra_op_num_threads = plan.threads
        self.options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # others use the same cores

    def load(self, reference: ModelReference) -> "OnnxModel":
        """Load a model. Raise TwinsError."""
        with device_errors(DEVICE_ERRORS):
            card, graph = exports.load_exported(reference, OnnxFormat())
            return OnnxModel(replace(card, backend=self.name), graph, self)

    def session(self, graph: onnx.ModelProto) -> onnxruntime.InferenceSession:
        """Return a session on the device. Raise DeviceMissing if it would run elsewhere."""
        wanted = self.providers[0][0]
        session = onnxruntime.InferenceSession(graph.SerializeToString(), self.options, providers=self.providers)
        if session.get_providers()[0] != wanted:  # it falls back to the CPU if a library or the device is missing
            raise DeviceMissing(f"ONNX Runtime cannot use {self.device.name} with {wanted}; is CUDA installed?")
        return session

    def memory_bytes(self) -> Mapping[str, int]:
        """Return nothing: ONNX Runtime does not tell what it uses of a device."""
        return {}


class OnnxModel:
    """One graph on a device."""

    def __init__(self, card: Card, graph: onnx.ModelProto, backend: OnnxBackend) -> None:
        self.card, self.graph, self.backend = card, graph, backend

    @cached_property
    def for_images(self) -> onnxruntime.InferenceSession:
        """Return the session whose input is a batch of images, B H W C uint8."""
        return self.backend.session(onnx_graph.with_pixels(self.graph, self.card.normalisation))

    @cached_property
    def for_tensors(self) -> onnxruntime.InferenceSession:
        """Return the session whose input is that of the network, B C H W float32."""
        return self.backend.session(self.graph)

    def warm_up(self, batch_size: int) -> None:
        """Run a blank batch of that size. Raise DeviceError."""
        self.run([TASKS[self.card.task].blank(self.card)] * batch_size)

    def run(self, samples: Sequence[Sample]) -> list[Output | NonFiniteOutput]:
        """Return an output or an error for each sample, in order; all samples have one layout.

        Raise DeviceOutOfMemory if the batch is too large for the device, and DeviceLost.
        """
        with device_errors(DEVICE_ERRORS):
            return outputs_on_host(samples, self.infer)

    def submit(self, samples: Sequence[Sample]) -> Finished:
        """Run a batch as `run` does."""
        return Finished(self.run(samples))

    def infer(self, samples: Sequence[Sample], method: str) -> NDArray[np.float32]:
        """Return the output of a method of the network."""
        session = self.for_tensors if samples[0].normalised else self.for_images
        given = {session.get_inputs()[0].name: np.stack([sample.pixels for sample in samples])}
        return cast(NDArray[np.float32], session.run([method], given)[0])

    def unload(self) -> None:
        """Free the memory of the graph and its sessions. The model cannot run after that."""
        for name in ("for_images", "for_tensors", "graph"):
            self.__dict__.pop(name, None)
