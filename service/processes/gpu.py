"""Read the state of the GPUs with NVML, NVIDIA's management library. Only this module uses it.

The supervisor reads the GPUs, so that a GPU remains visible while its worker is dead. It reads all GPUs of the machine,
since a slow service may have its cause in other programs that use a GPU. A machine without a driver has no GPU metrics.
"""

import threading
import time
from collections.abc import Callable
from math import isnan, nan
from typing import Any

import pynvml as nvml

from service import logs, metrics

INTERVAL_S = 2.0

READINGS: dict[str, Callable[[Any], float]] = {
    "utilization": lambda gpu: nvml.nvmlDeviceGetUtilizationRates(gpu).gpu / 100,
    "memory_used": lambda gpu: nvml.nvmlDeviceGetMemoryInfo(gpu).used,
    "memory_total": lambda gpu: nvml.nvmlDeviceGetMemoryInfo(gpu).total,
    "power": lambda gpu: nvml.nvmlDeviceGetPowerUsage(gpu) / 1000,  # NVML reports milliwatts
    "power_limit": lambda gpu: nvml.nvmlDeviceGetEnforcedPowerLimit(gpu) / 1000,
    "temperature": lambda gpu: nvml.nvmlDeviceGetTemperature(gpu, nvml.NVML_TEMPERATURE_GPU),
}

THROTTLE_REASONS = {
    "power_cap": nvml.nvmlClocksEventReasonSwPowerCap,
    "power_brake": nvml.nvmlClocksEventReasonHwPowerBrakeSlowdown,
    "heat": nvml.nvmlClocksEventReasonSwThermalSlowdown,
    "heat_emergency": nvml.nvmlClocksEventReasonHwThermalSlowdown,
    "hardware": nvml.nvmlClocksEventReasonHwSlowdown,
    "sync_boost": nvml.nvmlClocksEventReasonSyncBoost,
}
"""The reasons for reduced clocks. NVML has others for an idle GPU and for clocks set by a user."""

UNSUPPORTED = (nvml.NVML_ERROR_NOT_SUPPORTED, nvml.NVML_ERROR_FUNCTION_NOT_FOUND, nvml.NVML_ERROR_NO_PERMISSION)
"""Not every card, MIG slice or driver supports every reading."""

NO_DRIVER = (nvml.NVML_ERROR_LIBRARY_NOT_FOUND, nvml.NVML_ERROR_DRIVER_NOT_LOADED)
"""The errors of a machine without a GPU, which is not worth a warning."""

log = logs.get()


def watch() -> None:
    """Update the gauges in a daemon thread, since calls to the driver may hang."""
    threading.Thread(target=run, name="gpu", daemon=True).start()


def run() -> None:
    """Find the GPUs and read them in a loop."""
    try:
        gpus = find()
    except nvml.NVMLError as error:
        write = log.debug if error.value in NO_DRIVER else log.warning
        write("no GPU to watch", detail=str(error))
        return
    while gpus:
        for name, gpu in gpus.items():
            read(name, gpu)
        time.sleep(INTERVAL_S)


def find() -> dict[str, Any]:
    """Return the handles of all GPUs by number. Raise NVMLError if there is no driver."""
    nvml.nvmlInit()
    gpus = {}
    for number in range(nvml.nvmlDeviceGetCount()):
        try:
            gpu = nvml.nvmlDeviceGetHandleByIndex(number)
            metrics.gpu_found(str(number), nvml.nvmlDeviceGetUUID(gpu), nvml.nvmlDeviceGetName(gpu))
        except nvml.NVMLError as error:  # a lost GPU must not hide the others
            log.warning("cannot read the GPU", gpu=number, detail=str(error))
            continue
        gpus[str(number)] = gpu
    return gpus


def read(name: str, gpu: Any) -> None:
    """Update all gauges of one GPU."""
    for reading, read_value in READINGS.items():
        if (value := value_or_nan(read_value, gpu)) is not None:
            metrics.gpu_reading(name, reading, value)
    reasons = value_or_nan(nvml.nvmlDeviceGetCurrentClocksEventReasons, gpu)
    if reasons is not None:
        for reason, bit in THROTTLE_REASONS.items():
            metrics.gpu_throttled(name, reason, nan if isnan(reasons) else bool(int(reasons) & bit))


def value_or_nan(read_value: Callable[[Any], float], gpu: Any) -> float | None:
    """Return a reading: None if the GPU does not support it, NaN if it no longer answers.

    NaN replaces the last value, so that an old value is not mistaken for a new one.
    """
    try:
        return read_value(gpu)
    except nvml.NVMLError as error:
        return None if error.value in UNSUPPORTED else nan
