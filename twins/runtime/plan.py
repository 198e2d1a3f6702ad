"""The execution plan of a model: device, precision and compilation."""

from dataclasses import dataclass
from typing import Literal

Precision = Literal["auto", "float32", "bfloat16", "float16"]


@dataclass(frozen=True)
class Plan:
    """How to run a model: the device, its precision and its threads."""

    device: str = "cpu"  # "cpu", "cuda" or "cuda:N"
    precision: Precision = "auto"
    compile: bool = False
    threads: int = 0  # threads of a CPU device; 0 means the default of the backend's library
