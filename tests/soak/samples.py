"""What the processes of a service hold, sampled while it runs.

The resident memory of a process moves up and down with what is in flight. Growth is therefore the difference between
two medians: that of the last fifth of the samples, and that of the second fifth. The first fifth is the warm-up.
"""

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil

from service.processes.runtime_folder import PREFIX
from tests.server import Server


@dataclass(frozen=True)
class Sample:
    """One moment. Mappings are by the role of the process."""

    after_s: float
    requests: int
    memory_bytes: Mapping[str, int]
    descriptors: Mapping[str, int]
    threads: Mapping[str, int]
    files: int  # in the run-time folder
    series: int  # of metrics


def runtime_folder(service: Server) -> Path:
    """Return the run-time folder, which the supervisor keeps open."""
    opened = (each.readlink() for each in Path(f"/proc/{service.process.pid}/fd").iterdir())
    return next(path for path in opened if path.name.startswith(PREFIX) and path.is_dir())


def take(service: Server, after_s: float, requests: int) -> Sample:
    """Return what the processes hold now."""
    metrics = httpx.get(f"{service.http}/metrics", timeout=30).text.splitlines()
    groups = processes(service)

    def each(held: Callable[[psutil.Process], int]) -> dict[str, int]:
        return {role: sum(map(held, members)) for role, members in groups.items()}

    return Sample(
        after_s,
        requests,
        each(lambda process: process.memory_info().rss),
        each(lambda process: process.num_fds()),
        each(lambda process: process.num_threads()),
        sum(path.is_file() or path.is_socket() for path in runtime_folder(service).rglob("*")),
        sum(not line.startswith("#") for line in metrics),
    )


def processes(service: Server) -> dict[str, list[psutil.Process]]:
    """Return the processes of each role. Those that a frontend has started for itself share a role."""
    pids = {event["role"]: event["pid"] for event in service.events("started")}
    found = {role: [psutil.Process(pid)] for role, pid in {"supervisor": service.process.pid, **pids}.items()}
    decoders = [child for role in pids if role.startswith("frontend") for child in found[role][0].children()]
    return found | ({"decoders": decoders} if decoders else {})


def growth(samples: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Return by how much of itself each value has grown after the warm-up, at least 0."""
    fifth = max(1, len(samples) // 5)
    before, after = samples[fifth : 2 * fifth] or samples[:1], samples[-fifth:]
    roles = set.intersection(*(set(sample) for sample in (*before, *after)))
    return {role: max(0.0, median(after, role) / median(before, role) - 1) for role in sorted(roles)}


def median(samples: Sequence[Mapping[str, float]], role: str) -> float:
    """Return the median of the values of a role."""
    return statistics.median(sample[role] for sample in samples)
