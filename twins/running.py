"""How a user may ask for a model to be run: the backend, its precision, and the limits of its batches."""

from dataclasses import dataclass
from typing import Literal

Precision = Literal["auto", "float32", "bfloat16", "float16", "int8"]
BackendName = Literal["torch", "compile", "openvino", "onnx", "tensorrt"]
BackendChoice = Literal["auto", "torch", "compile", "openvino", "onnx", "tensorrt"]


@dataclass(frozen=True)
class Running:
    """How to run one model, where that differs from the other models. None means: as the others."""

    max_batch: int | None = None  # images
    max_delay_ms: float | None = None
    backend: BackendChoice | None = None
    precision: Precision | None = None


AS_THE_OTHERS = Running()
