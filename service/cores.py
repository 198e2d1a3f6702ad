"""Divides the processor cores among the processes of the service.

A worker and the frontends are never busy with the same image at once, and none of their threads spins while it waits.
So each may use every core, and the kernel divides them by need. Several workers on the CPU would be busy at once, and
share the cores equally. Small images take half of the worker's threads: decoding them takes as long as running them,
and more threads would only wait for each other.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from service.settings import Settings
from twins.runtime.choice import has_gpu_driver

CORES_PER_FRONTEND = {"cpu": 4, "gpu": 2}
"""By what runs the models. A worker on the CPU takes most of the cores; a GPU leaves them to the frontends."""
MOST_FRONTENDS = 16


@dataclass(frozen=True)
class Shares:
    """How the service uses its cores."""

    frontends: int
    decode_threads: int  # of each frontend
    worker_threads: int  # of each worker on the CPU
    small_threads: int  # of these, for small images


def shares(settings: Settings, *, cores: int | None = None, gpu: bool | None = None) -> Shares:
    """Return what the settings ask for, with a number for each 0. By default, look at this machine."""
    cores = available() if cores is None else cores
    runs_on = "gpu" if uses_gpu(settings, gpu=gpu) else "cpu"
    frontends = settings.frontends or min(MOST_FRONTENDS, max(1, cores // CORES_PER_FRONTEND[runs_on]))
    cpu_workers = sum(device in ("cpu", "auto") for device in settings.device)
    worker_threads = settings.threads or max(1, cores // max(1, cpu_workers))
    return Shares(
        frontends,
        settings.decode_threads or max(1, cores // frontends),
        worker_threads,
        max(1, worker_threads // 2),
    )


def uses_gpu(settings: Settings, *, gpu: bool | None = None) -> bool:
    """Return whether a worker uses a GPU. `gpu` is whether the machine has one, for `auto`."""
    if "auto" not in settings.device:
        return set(settings.device) != {"cpu"}
    return has_gpu_driver() if gpu is None else gpu


def available(root: Path = Path("/")) -> int:
    """Return the number of cores that this process may use: by its affinity, and by the quota of its container.

    A quota is rounded down, so that the threads of one process never exceed it: the kernel would stop them all until
    the next period. `root` has the folders `proc` and `sys`.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, int(min([cores, *quotas(root)])))


def quotas(root: Path) -> Iterator[float]:
    """Yield the quotas of this process's control group and of those above it, in cores."""
    for folder in groups(root):
        match read(folder / "cpu.max").split():  # version 2
            case [quota, period] if quota != "max":
                yield int(quota) / int(period)
        quota, period = read(folder / "cpu.cfs_quota_us"), read(folder / "cpu.cfs_period_us")  # version 1
        if quota and period and int(quota) > 0:
            yield int(quota) / int(period)


def groups(root: Path) -> Iterator[Path]:
    """Yield the folder of each control group of this process that may limit its cores.

    A container may see the path that its group has on the host, where only the folder of the mount exists.
    """
    for line in read(root / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        mount = root / "sys/fs/cgroup" / ("cpu" if controllers else "")
        group = mount / path.lstrip("/")
        yield group
        yield from (folder for folder in group.parents if folder.is_relative_to(mount))


def read(file: Path) -> str:
    """Return the text of a file, or nothing if there is none."""
    try:
        return file.read_text("utf-8").strip()
    except OSError:
        return ""
