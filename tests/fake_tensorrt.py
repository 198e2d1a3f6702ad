"""A replacement of the library `tensorrt`, whose engines are ONNX graphs that ONNX Runtime runs on the CPU.

It is as strict as the original about what is declared: the shapes of a profile, and the address of every tensor.
"""

import ctypes
import json
from enum import Enum, IntEnum
from importlib.machinery import ModuleSpec
from types import ModuleType, SimpleNamespace

import numpy as np
import onnx
import onnxruntime


class ILogger:
    INTERNAL_ERROR, ERROR, WARNING = range(3)


class Profile:
    def set_shape(self, name, smallest, usual, largest):
        assert all(a <= b <= c for a, b, c in zip(smallest, usual, largest, strict=True))
        self.bounds = [name, smallest, largest]


class Config:
    def __init__(self) -> None:
        self.cleared: set[object] = set()

    def clear_flag(self, flag):
        self.cleared.add(flag)

    def create_optimization_profile(self):
        return Profile()

    def add_optimization_profile(self, profile):
        self.profile = profile


class OnnxParser:
    def __init__(self, network, logger):
        self.network = network

    def parse(self, graph):
        self.network.graph = graph
        return bool(onnx.load_from_string(graph).graph.node)

    def get_error(self, index):
        return SimpleNamespace(desc=lambda: f"error {index}")


class Builder:
    fault: str | None = None  # why nothing can be built
    built = 0

    def __init__(self, logger):
        self.logger = logger

    def create_network(self, flags):
        assert flags == 1 << NetworkDefinitionCreationFlag.STRONGLY_TYPED
        return SimpleNamespace(graph=None)

    def create_builder_config(self):
        return Config()

    def create_optimization_profile(self):
        return Profile()

    def build_serialized_network(self, network, config):
        assert BuilderFlag.TF32 in config.cleared
        if Builder.fault:
            self.logger.log(ILogger.ERROR, Builder.fault)
            return None
        Builder.built += 1
        return json.dumps(config.profile.bounds).encode() + b"\n" + network.graph


class Engine:
    def __init__(self, engine):
        bounds, _, graph = bytes(engine).partition(b"\n")
        self.bounds = json.loads(bounds)
        self.graph = graph
        self.session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
        self.outputs = [output.name for output in self.session.get_outputs()]
        self.num_io_tensors = 1 + len(self.outputs)

    def get_tensor_name(self, index):
        return [self.bounds[0], *self.outputs][index]

    def create_execution_context(self):
        return Context(self)


class Context:
    fault: str | None = None  # why nothing can be run

    def __init__(self, engine):
        self.engine = engine
        self.shape: tuple[int, ...] = ()
        self.addresses: dict[str, int] = {}

    def set_input_shape(self, name, shape):
        known, smallest, largest = self.engine.bounds
        assert name == known
        self.shape = shape
        return all(a <= b <= c for a, b, c in zip(smallest, shape, largest, strict=True))

    def get_tensor_shape(self, name):
        batch, _, height, width = self.shape
        output = next(each for each in self.engine.session.get_outputs() if each.name == name)
        rest = output.shape[1:]
        return (batch, *((rest[0], height // 4, width // 4) if len(rest) == 3 else rest))

    def set_tensor_address(self, name, address):
        self.addresses[name] = address

    def execute_async_v3(self, stream):
        assert stream == STREAM
        if Context.fault:
            return False
        given = at(self.addresses[self.engine.bounds[0]], self.shape)
        for name, value in zip(
            self.engine.outputs, self.engine.session.run(None, {self.engine.bounds[0]: given}), strict=True
        ):
            at(self.addresses[name], self.get_tensor_shape(name))[...] = value
        return True


class NetworkDefinitionCreationFlag(IntEnum):
    STRONGLY_TYPED = 1


class BuilderFlag(Enum):
    TF32 = 1


STREAM = 7
"""The handle of the stream in which every batch must run."""


def at(address: int, shape: tuple[int, ...]) -> np.ndarray:
    """Return the float32 array at an address."""
    memory = (ctypes.c_float * int(np.prod(shape))).from_address(address)
    return np.frombuffer(memory, np.float32).reshape(shape)


def module() -> ModuleType:
    """Return the library."""
    made = ModuleType("tensorrt")
    made.__spec__ = ModuleSpec("tensorrt", None)
    made.__version__ = "11.0"  # type: ignore[attr-defined]
    for each in (ILogger, Builder, OnnxParser, NetworkDefinitionCreationFlag, BuilderFlag):
        setattr(made, each.__name__, each)
    made.Runtime = lambda logger: SimpleNamespace(deserialize_cuda_engine=Engine)  # type: ignore[attr-defined]
    return made
