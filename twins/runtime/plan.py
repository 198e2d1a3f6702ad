"""The execution plan of a model: device, backend, precision and threads."""

from dataclasses import dataclass
from pathlib import Path

from twins.running import BackendChoice, Precision


@dataclass(frozen=True)
class Plan:
    """How to run models: the device, the backend, its precision and its threads."""

    device: str = "cpu"  # "cpu", "cuda" or "cuda:N"
    precision: Precision = "auto"
    backend: BackendChoice = "auto"  # auto: the one that measured best on this kind of device and is installed
    threads: int = 0  # threads of a CPU device; 0 means the default of the backend's library
    calibration: Path | None = None  # for int8: the folder of images with which a network is quantised
    small_threads: int = 0  # threads of a CPU device for small images, if other processes need its cores as well
