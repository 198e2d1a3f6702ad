"""The process that fuzzes one target: `python -m tests.fuzz.fuzzer TARGET FINDINGS LIBFUZZER-ARGUMENTS`.

libFuzzer takes over the process and ends it. An error that is not allowed is saved, and the fuzzer goes on. A crash,
too much memory and too much time end it, and libFuzzer saves the input.
"""

import logging
import resource
import sys
from contextlib import suppress
from pathlib import Path

import atheris

from tests.fuzz import finding
from tests.fuzz.target import Target, load

INSTRUMENTED = ["twins", "service", "PIL", "python_multipart", "starlette.formparsers", "uvicorn.protocols.http"]
MOST_MEMORY = 4  # times the limit of a target: what the system grants at most, should an input demand it at once
PAGE_MB = resource.getpagesize() / 2**20


def fuzz(name: str, folder: Path, arguments: list[str]) -> None:
    """Fuzz a target. This does not return."""
    with atheris.instrument_imports(include=INSTRUMENTED):
        target = load(name)
    logging.disable(logging.CRITICAL)

    def run(data: bytes) -> None:
        before = peak_mb()
        try:
            with suppress(*target.allowed):
                target.run(data)
            if (taken := peak_mb() - before) > target.max_memory_mb:
                raise MemoryError(f"the input took {taken} MB")
        except Exception as error:
            finding.save(error, data, folder)

    run(b"")  # imports what is imported late, before the memory is measured
    atheris.Setup([sys.argv[0], *limits(target), f"-artifact_prefix={folder}/", *arguments], run)
    atheris.Fuzz()


def peak_mb() -> int:
    """Return the most memory that this program has had. libFuzzer looks once a second, and may blame a later input."""
    status = Path("/proc/self/status").read_text("ascii")
    return int(status.partition("VmHWM:")[2].split()[0]) // 1024


def limits(target: Target) -> list[str]:
    """Return the limits of a target as arguments of libFuzzer."""
    virtual_mb = int(int(Path("/proc/self/statm").read_text("ascii").split()[0]) * PAGE_MB)
    # what libFuzzer compares with the limit, which starts with the memory of the program that started this one
    peak_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    most = (virtual_mb + MOST_MEMORY * target.max_memory_mb) * 2**20
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    return [
        f"-max_len={target.max_bytes}",
        f"-timeout={target.timeout_s}",
        f"-rss_limit_mb={peak_kb // 1024 + target.max_memory_mb}",
    ]


if __name__ == "__main__":
    fuzz(sys.argv[1], Path(sys.argv[2]), sys.argv[3:])
