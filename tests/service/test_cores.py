"""How the processes share the cores of a machine or of a container."""

import os

import pytest

from service.cores import Shares, available, shares
from service.settings import Settings


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """Return a function that makes a machine with these cores and these files."""

    def make(cores: int, groups: str = "", **files: str):
        monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cores)), raising=False)
        for name, text in {"proc/self/cgroup": groups, **files}.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(text + "\n")
        return tmp_path

    return make


@pytest.mark.parametrize(
    ("cores", "expected"),
    [
        (1, Shares(1, 1, 1, 1)),
        (2, Shares(1, 2, 2, 1)),
        (4, Shares(1, 4, 4, 2)),
        (16, Shares(4, 4, 16, 8)),
        (128, Shares(16, 8, 128, 64)),
    ],
)
def test_a_worker_on_the_cpu_may_use_every_core(cores, expected):
    assert shares(Settings(), cores=cores, gpu=False) == expected


@pytest.mark.parametrize(("cores", "frontends", "decode_threads"), [(1, 1, 1), (2, 1, 2), (4, 2, 2), (16, 8, 2)])
def test_a_gpu_leaves_the_cores_to_the_frontends(cores, frontends, decode_threads):
    for settings in (Settings(), Settings(device=("cuda:0", "cuda:1"))):
        found = shares(settings, cores=cores, gpu=True)
        assert (found.frontends, found.decode_threads) == (frontends, decode_threads)


@pytest.mark.parametrize(("cores", "threads"), [(1, 1), (2, 1), (4, 2), (16, 8), (128, 64)])
def test_two_workers_on_the_cpu_divide_the_cores(cores, threads):
    assert shares(Settings(device=("cpu", "cpu")), cores=cores).worker_threads == threads


def test_a_setting_takes_precedence_over_the_number_of_cores():
    asked = Settings(frontends=3, decode_threads=5, threads=7)
    assert shares(asked, cores=16, gpu=False) == Shares(3, 5, 7, 3)


def test_without_a_quota_the_affinity_counts(machine):
    assert available(machine(6)) == 6


QUOTAS = {
    "version 2": ("0::/", {"sys/fs/cgroup/cpu.max": "300000 100000"}),
    "version 2, of a group above": ("0::/pod/app", {"sys/fs/cgroup/pod/cpu.max": "300000 100000"}),
    "version 1": (
        "4:cpu,cpuacct:/\n0::/",
        {"sys/fs/cgroup/cpu/cpu.cfs_quota_us": "300000", "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000"},
    ),
    "version 1, by the path on the host": (
        "7:memory:/docker/1a2b\n4:cpuacct,cpu:/docker/1a2b",
        {"sys/fs/cgroup/cpu/cpu.cfs_quota_us": "150000", "sys/fs/cgroup/cpu/cpu.cfs_period_us": "50000"},
    ),
}


@pytest.mark.parametrize(("groups", "files"), QUOTAS.values(), ids=QUOTAS)
def test_the_quota_of_a_container_counts_as_its_cores(machine, groups, files):
    assert available(machine(16, groups, **files)) == 3
    assert available(machine(2, groups, **files)) == 2


@pytest.mark.parametrize(("quota", "cores"), [("50000", 1), ("250000", 2), ("max", 16)])
def test_a_part_of_a_core_is_not_counted_unless_there_is_no_other(machine, quota, cores):
    assert available(machine(16, "0::/", **{"sys/fs/cgroup/cpu.max": f"{quota} 100000"})) == cores


def test_a_quota_of_minus_one_is_none(machine):
    unlimited = {"sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1", "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000"}
    assert available(machine(16, "4:cpu:/", **unlimited)) == 16
