"""The TensorRT backend for NVIDIA GPUs: an engine in place of the network, built from the ONNX graph and stored.

This backend has never run on a GPU. Its tests replace the library with one that computes on the CPU.

Legend: B batch · C channels · H W image
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import tensorrt as trt
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from twins.card import MIN_SIDE, Card
from twins.errors import DeviceLost, DeviceOutOfMemory, ExportFailed
from twins.running import BackendName, Precision
from twins.runtime import export, exports
from twins.runtime.backend import Model
from twins.runtime.cuda.model import StreamedModel
from twins.runtime.inputs import card_for
from twins.runtime.onnx import OnnxFormat
from twins.runtime.onnx_graph import INPUT
from twins.runtime.plan import Plan
from twins.runtime.torch import TorchBackend, TorchModel, device_errors
from twins.tasks import TASKS
from twins.zoo.loading import Loaded
from twins.zoo.models import ModelReference

TOLERANCES: Mapping[Precision, float] = {"float32": 1e-3, "float16": 5e-2}  # of the deviation of an output
LONGEST = 4  # times the short side: the longest side of an engine for images of many sizes without a bound

Shape = tuple[int, int, int, int]  # B C H W

log = logging.getLogger(__name__)


class Log(trt.ILogger):  # type: ignore[misc]  # the library has no annotations
    """Passes the library's errors to the log, and keeps the last one."""

    def __init__(self) -> None:
        super().__init__()
        self.last = "no reason is given"

    def log(self, severity: object, message: str) -> None:
        """Receive a message of the library."""
        if severity in (trt.ILogger.INTERNAL_ERROR, trt.ILogger.ERROR):
            self.last = message
            log.error("TensorRT: %s", message)


@dataclass(frozen=True)
class Profile:
    """The shapes of the input that an engine takes, and the one for which it is the fastest."""

    smallest: Shape
    usual: Shape
    largest: Shape


def profile_of(card: Card) -> Profile:
    """Return the profile for a model: its largest batch on a GPU, and the sizes to which its images are resized."""
    batch, (height, width) = TASKS[card.task].max_batch["cuda"], card.geometry.usual_size
    if card.geometry.crop:
        return Profile((1, 3, height, width), (batch, 3, height, width), (batch, 3, height, width))
    longest = card.geometry.long_side or LONGEST * card.geometry.short_side
    return Profile((1, 3, MIN_SIDE, MIN_SIDE), (batch, 3, height, width), (batch, 3, longest, longest))


class EngineFormat:
    """Networks as serialised engines, which hold for one version of TensorRT and one kind of GPU."""

    code = ("runtime/onnx.py", *OnnxFormat.code)

    def __init__(self, profile: Profile, precision: Precision, device: torch.device) -> None:
        self.profile, self.precision, self.device = profile, precision, device
        gpu = torch.cuda.get_device_name(device)
        self.name = f"tensorrt-{trt.__version__}-{gpu}-{precision}-{profile}-{OnnxFormat.name}"

    def export(self, network: nn.Module) -> bytes:
        """Return the engine of a network. Raise ExportFailed."""
        graph = OnnxFormat().export(network)
        if self.precision == "float16":
            from onnxruntime.transformers.float16 import convert_float_to_float16  # late: a stored engine needs none

            graph = convert_float_to_float16(graph, keep_io_types=True)
        engine = self.build(graph.SerializeToString())
        found = EngineNetwork(engine, self.device)
        seeded = torch.Generator().manual_seed(0)
        images = [
            torch.randn(shape, generator=seeded) for shape in (self.profile.smallest, (2, *self.profile.usual[1:]))
        ]
        export.check(export.EveryOutput(network), found.on_host, images=images, tolerance=TOLERANCES[self.precision])
        return engine

    def build(self, graph: bytes) -> bytes:
        """Return the engine of an ONNX graph, which computes in the types of the graph. Raise ExportFailed."""
        messages = Log()
        builder = trt.Builder(messages)
        network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
        parser = trt.OnnxParser(network, messages)
        if not parser.parse(graph):
            raise ExportFailed(f"TensorRT cannot read the network: {parser.get_error(0).desc()}")
        config = builder.create_builder_config()
        config.clear_flag(trt.BuilderFlag.TF32)  # float32 means float32
        profile = builder.create_optimization_profile()
        profile.set_shape(INPUT, self.profile.smallest, self.profile.usual, self.profile.largest)
        config.add_optimization_profile(profile)
        engine = builder.build_serialized_network(network, config)
        if engine is None:
            raise ExportFailed(f"TensorRT cannot build an engine: {messages.last}. Use --backend torch")
        return bytes(engine)

    def save(self, engine: bytes, folder: Path) -> None:
        """Write the engine. Raise OSError."""
        (folder / "engine.plan").write_bytes(engine)

    def open(self, folder: Path) -> bytes:
        """Read the engine. Raise OSError."""
        return (folder / "engine.plan").read_bytes()


class EngineNetwork(nn.Module):
    """An engine with the methods of its network. It uses the memory and the current stream of PyTorch."""

    def __init__(self, engine: bytes, device: torch.device) -> None:
        """Raise DeviceOutOfMemory if the device has too little memory for the largest batch."""
        super().__init__()
        self.device, self.messages = device, Log()
        self.runtime = trt.Runtime(self.messages)
        self.engine = self.runtime.deserialize_cuda_engine(engine)
        self.context: Any = self.engine.create_execution_context() if self.engine else None
        if self.context is None:
            raise DeviceOutOfMemory(f"TensorRT cannot load the engine: {self.messages.last}")
        tensors = [self.engine.get_tensor_name(index) for index in range(self.engine.num_io_tensors)]
        self.names = [name for name in tensors if name != INPUT]

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits. x: B C H W, normalised float32."""
        return self.outputs(x)["__call__"]

    def pooled(self, x: Tensor) -> Tensor:
        """Return the features of a classifier. x: B C H W, normalised float32."""
        return self.outputs(x)["pooled"]

    def outputs(self, x: Tensor) -> dict[str, Tensor]:
        """Return all outputs by name. Raise DeviceOutOfMemory if the batch does not fit the profile, and DeviceLost."""
        if not self.context.set_input_shape(INPUT, tuple(x.shape)):
            raise DeviceOutOfMemory(f"the engine is not built for a batch of the shape {tuple(x.shape)}")
        found = {name: torch.empty(tuple(self.context.get_tensor_shape(name)), device=x.device) for name in self.names}
        for name, tensor in ((INPUT, x), *found.items()):
            self.context.set_tensor_address(name, tensor.data_ptr())
        if not self.context.execute_async_v3(current_stream(self.device)):
            raise DeviceLost(f"TensorRT cannot run a batch: {self.messages.last}")
        return found

    def on_host(self, batch: NDArray[np.float32]) -> Sequence[NDArray[np.float32]]:
        """Return all outputs for a batch in memory of the host."""
        return [found.cpu().numpy() for found in self.outputs(torch.from_numpy(batch).to(self.device)).values()]


class TensorRtBackend:
    """TensorRT on one GPU. PyTorch does everything but the forward pass."""

    name: BackendName = "tensorrt"

    def __init__(self, plan: Plan) -> None:
        """Raise DeviceMissing unless the device is there."""
        self.plan = replace(plan, backend="torch", precision="float32")  # of what goes in and comes out
        self.precision: Precision = "float16" if plan.precision == "auto" else plan.precision
        self.torch = TorchBackend(self.plan)
        self.device = self.torch.device

    def load(self, reference: ModelReference) -> Model:
        """Load a model, whose engine is built if there is none yet. Raise TwinsError."""
        device = torch.device(self.plan.device)
        with device_errors(), torch.cuda.device_of(torch.empty(0, device=device)):
            form = EngineFormat(profile_of(card_for(reference)), self.precision, device)
            card, engine = exports.load_exported(reference, form)
            named = replace(card, backend=self.name)
            model = TorchModel(Loaded(EngineNetwork(engine, device), named), self.plan)
            return StreamedModel(model, self.torch.streams, graphs=False) if self.torch.streams else model

    def memory_bytes(self) -> Mapping[str, int]:
        """Return what PyTorch uses of the device, which does not include the engines."""
        return self.torch.memory_bytes()


def current_stream(device: torch.device) -> int:
    """Return the handle of PyTorch's current stream."""
    return torch.cuda.current_stream(device).cuda_stream
