"""The execution plan of a model: device, precision and compilation."""

from dataclasses import dataclass
from typing import Literal

Precision = Literal["auto", "float32", "bfloat16", "float16"]


@dataclass(frozen=True)
class Plan:
    """A device and how to use it."""

    device: str = "cpu"  # "cpu", "cuda" or "cuda:N"
    precision: Precision = "auto"
    compile: bool = False
    threads: int = 0  # processor threads of a CPU device; 0: what the backend's library chooses
