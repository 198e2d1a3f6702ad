"""The environment of the process. This is the only module that reads or changes it."""

import os
from collections.abc import Mapping

PREFIX = "TWINS_"
"""How the names of variables begin that set a setting."""


COMPILED_FOLDER = "TORCHINDUCTOR_CACHE_DIR"
"""The variable by which PyTorch learns where it keeps what torch.compile has compiled."""


METRICS_FOLDER = "PROMETHEUS_MULTIPROC_DIR"
"""The variable by which prometheus_client learns where the metric files of all processes are."""


PASSIVE_THREADS = {"OMP_WAIT_POLICY": "PASSIVE", "KMP_BLOCKTIME": "0"}
"""Make the threads of GNU's and LLVM's OpenMP sleep while they wait. By default they spin, on cores that others need.

The libraries read these variables when a process starts.
"""


DECODER_NAMES = ("LANG", "LC_ALL", "LD_LIBRARY_PATH", "PATH", "PYTHONHOME", "PYTHONPATH")
"""The variables that a decoder process needs to start. It handles untrusted data and gets nothing else."""


SERVICE_MANAGER = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")
"""The variables by which a service manager, such as systemd, tells a process where and how often to report."""


QUIET = {"GRPC_VERBOSITY": "ERROR"}
"""Keep gRPC from writing a line for every TLS handshake that a client gets wrong."""


def child_environment() -> dict[str, str]:
    """Return the environment for a child process: without our settings, which it receives in another way.

    Nor does it have the address of the service manager, to which the supervisor alone reports.
    """
    inherited = {
        name: value for name, value in os.environ.items() if not name.startswith(PREFIX) and name not in SERVICE_MANAGER
    }
    return {**PASSIVE_THREADS, **QUIET, **inherited}


def decoder_environment() -> dict[str, str]:
    """Return the environment for a decoder process, which uses one thread and keeps no memory that it has freed."""
    inherited = {name: os.environ[name] for name in DECODER_NAMES if name in os.environ}
    return {**inherited, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "2"}


def all_variables() -> Mapping[str, str]:
    """Return the whole environment."""
    return os.environ


def variable(name: str) -> str | None:
    """Return an environment variable that is not a setting."""
    return os.environ.get(name)


def notify_socket() -> str | None:
    """Return the address of the service manager's socket, or None if there is none."""
    return os.environ.get("NOTIFY_SOCKET") or None


def watchdog_s() -> float | None:
    """Return within how many seconds the service manager wants a sign of life of this process, or None."""
    microseconds, pid = os.environ.get("WATCHDOG_USEC", ""), os.environ.get("WATCHDOG_PID", "")
    wanted = microseconds.isdecimal() and int(microseconds) > 0 and pid in ("", str(os.getpid()))
    return int(microseconds) / 1e6 if wanted else None


def set_variable(name: str, value: str) -> None:
    """Set an environment variable, for libraries that read it when they are imported."""
    os.environ[name] = value
