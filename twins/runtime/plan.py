"""How a model is to run, as data."""

from dataclasses import dataclass
from typing import Literal

Precision = Literal["auto", "float32", "bfloat16", "float16"]


@dataclass(frozen=True)
class Plan:
    """A device and what to do on it."""

    device: str = "cpu"  # "cpu", "cuda" or "cuda:N"
    precision: Precision = "auto"
    compile: bool = False
