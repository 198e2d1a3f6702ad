"""The backends as data, and the choice among them. Importing this module loads no library that runs networks."""

import ctypes
import importlib.util
import pkgutil
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import cast

from twins.errors import BackendMissing, BadOption
from twins.running import BackendName, Precision
from twins.runtime.backend import Backend, DeviceKind
from twins.runtime.fallback import FallbackBackend
from twins.runtime.plan import Plan


@dataclass(frozen=True)
class Library:
    """A library that runs networks."""

    backend: str  # the class of its backend, with its module
    packages: tuple[str, ...]  # what can be imported if the extra is installed
    devices: tuple[DeviceKind, ...]
    precisions: tuple[Precision, ...]


ALL_PRECISIONS: tuple[Precision, ...] = ("auto", "float32", "bfloat16", "float16")

ONNX = ("onnxruntime", "onnx", "onnxscript")

LIBRARIES: Mapping[BackendName, Library] = {
    "torch": Library("twins.runtime.torch:TorchBackend", ("torch",), ("cpu", "cuda"), ALL_PRECISIONS),
    "compile": Library("twins.runtime.torch:TorchBackend", ("torch",), ("cpu", "cuda"), ALL_PRECISIONS),
    "openvino": Library("twins.runtime.openvino:OpenVinoBackend", ("openvino",), ("cpu",), ("auto", "float32", "int8")),
    "onnx": Library("twins.runtime.onnx:OnnxBackend", ONNX, ("cpu", "cuda"), ("auto", "float32")),
    "tensorrt": Library(
        "twins.runtime.tensorrt:TensorRtBackend", ("tensorrt", *ONNX), ("cuda",), ("auto", "float32", "float16")
    ),
}

PREFERRED: Mapping[DeviceKind, tuple[BackendName, ...]] = {"cpu": ("openvino", "torch"), "cuda": ("torch",)}
"""The backends in the order in which they measured, best first. PyTorch, the last of each, is always installed."""


def open_backend(plan: Plan) -> Backend:
    """Return a backend for the plan's device. Raise DeviceMissing, BackendMissing, BadOption."""
    name = choose_backend(plan)
    made = open_named(name, plan)
    if plan.backend != "auto" or name == "torch" or not fits("torch", made.device.kind, plan.precision):
        return made
    return FallbackBackend(made, partial(open_named, "torch", plan))


def open_named(name: BackendName, plan: Plan) -> Backend:
    """Return the backend of that name. Raise DeviceMissing."""
    made: Backend = pkgutil.resolve_name(LIBRARIES[name].backend)(replace(plan, backend=name))
    return made


def choose_backend(plan: Plan) -> BackendName:
    """Return the plan's backend; for `auto` the best one that is installed. Raise BackendMissing, BadOption."""
    if plan.precision == "int8":
        check_int8(plan.calibration)
    kind: DeviceKind = "cuda" if plan.device.startswith("cuda") else "cpu"
    if plan.backend == "auto":
        fitting = (name for name in PREFERRED[kind] if fits(name, kind, plan.precision) and is_installed(name))
        if name := next(fitting, None):
            return name
        raise BackendMissing(
            f"no installed backend runs on {plan.device} in the precision {plan.precision}; "
            "int8 needs --device cpu and pip install 'twins-serving[openvino]'"
        )
    check_installed(plan.backend)
    if not fits(plan.backend, kind, plan.precision):
        raise BackendMissing(
            f"the backend {plan.backend} does not run on {plan.device} in the precision {plan.precision}; use auto"
        )
    return plan.backend


def fits(name: BackendName, kind: DeviceKind, precision: Precision) -> bool:
    """Return whether a backend runs on such a device in this precision."""
    return kind in LIBRARIES[name].devices and precision in LIBRARIES[name].precisions


def check_installed(name: BackendName) -> None:
    """Raise BackendMissing unless the library of the backend is installed."""
    if not is_installed(name):
        raise BackendMissing(
            f"the backend {name} is not installed; install it with pip install 'twins-serving[{name}]'"
        )


def check_int8(calibration: Path | None) -> None:
    """Raise BadOption without a folder of images, and BackendMissing unless the library that quantises is installed."""
    if calibration is None:
        raise BadOption(
            "--precision int8 needs --calibration FOLDER: a folder of a few hundred images like those that the model "
            "will see; they need no labels"
        )
    if not calibration.is_dir():
        raise BadOption(f"--calibration {calibration}: no such folder")
    if importlib.util.find_spec("nncf") is None:
        raise BackendMissing("--precision int8 needs nncf; install it with pip install 'twins-serving[quantize]'")


def is_installed(name: BackendName) -> bool:
    """Return whether the library of the backend is installed."""
    return all(importlib.util.find_spec(package) for package in LIBRARIES[name].packages)


def choose_device(device: str, index: int = 0) -> str:
    """Return the device; for `auto` the GPU of that index if the machine has any, else the CPU."""
    if device != "auto":
        return device
    if not has_gpu_driver():
        return "cpu"  # so that a worker on a CPU need not import PyTorch, which takes seconds
    return cast(str, pkgutil.resolve_name("twins.runtime.torch:choose_device")(device, index))


def has_gpu_driver() -> bool:
    """Return whether the library of NVIDIA's driver, without which PyTorch finds no GPU, can be loaded."""
    return driver() is not None


def gpu_count() -> int:
    """Return how many GPUs the driver shows to this process, at least 1."""
    library, count = driver(), ctypes.c_int(0)
    if library is not None and library.cuInit(0) == 0:
        library.cuDeviceGetCount(ctypes.byref(count))
    return max(1, count.value)


def driver() -> ctypes.CDLL | None:
    """Return the library of NVIDIA's driver, or None if it cannot be loaded."""
    with suppress(OSError):
        return ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    return None
