"""What the machine's GPUs tell of themselves. The only module that knows NVML, NVIDIA's library for that.

Read by the supervisor, so that a GPU is seen while its worker is dead; of the whole machine, as other programs' use of
a GPU explains a slow service. Where there is no driver, there are no metrics, and nothing is said about it.
"""

import threading
import time
from collections.abc import Callable
from math import isnan, nan
from typing import Any

import pynvml as nvml

from service import logs, metrics

EVERY_S = 2.0

READINGS: dict[str, Callable[[Any], float]] = {
    "utilization": lambda gpu: nvml.nvmlDeviceGetUtilizationRates(gpu).gpu / 100,
    "memory_used": lambda gpu: nvml.nvmlDeviceGetMemoryInfo(gpu).used,
    "memory_total": lambda gpu: nvml.nvmlDeviceGetMemoryInfo(gpu).total,
    "power": lambda gpu: nvml.nvmlDeviceGetPowerUsage(gpu) / 1000,  # of milliwatts
    "power_limit": lambda gpu: nvml.nvmlDeviceGetEnforcedPowerLimit(gpu) / 1000,
    "temperature": lambda gpu: nvml.nvmlDeviceGetTemperature(gpu, nvml.NVML_TEMPERATURE_GPU),
}

REASONS = {
    "power_cap": nvml.nvmlClocksEventReasonSwPowerCap,
    "power_brake": nvml.nvmlClocksEventReasonHwPowerBrakeSlowdown,
    "heat": nvml.nvmlClocksEventReasonSwThermalSlowdown,
    "heat_emergency": nvml.nvmlClocksEventReasonHwThermalSlowdown,
    "hardware": nvml.nvmlClocksEventReasonHwSlowdown,
    "sync_boost": nvml.nvmlClocksEventReasonSyncBoost,
}
"""For which clocks are held back; NVML's others are idleness and what somebody has set."""

NOT_TOLD = (nvml.NVML_ERROR_NOT_SUPPORTED, nvml.NVML_ERROR_FUNCTION_NOT_FOUND, nvml.NVML_ERROR_NO_PERMISSION)
"""A card, a slice of one or an old driver may not tell everything."""

NO_DRIVER = (nvml.NVML_ERROR_LIBRARY_NOT_FOUND, nvml.NVML_ERROR_DRIVER_NOT_LOADED)
"""An ordinary machine without a GPU: nothing to speak of."""

log = logs.get()


def watch() -> None:
    """Keeps the gauges true from now on, in a thread that nobody waits for: calls may hang with the driver."""
    threading.Thread(target=run, name="gpu", daemon=True).start()


def run() -> None:
    """Finds the GPUs and reads them for ever."""
    try:
        gpus = find()
    except nvml.NVMLError as error:
        say = log.debug if error.value in NO_DRIVER else log.warning
        say("no GPU to watch", detail=str(error))
        return
    while gpus:
        for name, gpu in gpus.items():
            read(name, gpu)
        time.sleep(EVERY_S)


def find() -> dict[str, Any]:
    """The handles of all GPUs, by number. Raises NVMLError where there is no driver."""
    nvml.nvmlInit()
    gpus = {}
    for number in range(nvml.nvmlDeviceGetCount()):
        try:
            gpu = nvml.nvmlDeviceGetHandleByIndex(number)
            metrics.gpu_found(str(number), nvml.nvmlDeviceGetUUID(gpu), nvml.nvmlDeviceGetName(gpu))
        except nvml.NVMLError as error:  # one that is lost must not hide the others
            log.warning("GPU cannot be watched", gpu=number, detail=str(error))
            continue
        gpus[str(number)] = gpu
    return gpus


def read(name: str, gpu: Any) -> None:
    """All that one GPU tells."""
    for reading, ask in READINGS.items():
        if (value := told(ask, gpu)) is not None:
            metrics.gpu_reading(name, reading, value)
    reasons = told(nvml.nvmlDeviceGetCurrentClocksEventReasons, gpu)
    if reasons is not None:
        for reason, bit in REASONS.items():
            metrics.gpu_throttled(name, reason, nan if isnan(reasons) else bool(int(reasons) & bit))


def told(ask: Callable[[Any], float], gpu: Any) -> float | None:
    """A GPU's answer: None if it never tells that, NaN if it fell silent: no old figure shall pass for a new one."""
    try:
        return ask(gpu)
    except nvml.NVMLError as error:
        return None if error.value in NOT_TOLD else nan
