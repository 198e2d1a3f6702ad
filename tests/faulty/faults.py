"""The faults of a device, as the environment describes them."""

import os
import signal
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from twins.errors import DeviceLost, DeviceOutOfMemory
from twins.tasks.sample import Sample

PREFIX = "FAULTY_"
TOLERANCE = 4  # of a colour's values, each of 0 to 255
POLL_S = 0.02

Colour = tuple[int, ...]


@dataclass(frozen=True)
class Faults:
    """What fails. `tests.faulty` describes each fault."""

    workers: tuple[str, ...] = ()
    oom_above: int | None = None
    oom_colour: Colour | None = None
    lost_on_batch: int | None = None
    lost_while: Path | None = None
    fail_while: Path | None = None
    hang_while: Path | None = None
    crash_colour: Colour | None = None
    crash_by: str = "exit"
    die_at_start_while: Path | None = None
    slow_s: float = 0.0

    def before_load(self) -> None:
        """Fail if a model cannot be loaded now."""
        if exists(self.lost_while):
            raise DeviceLost("the device is lost")

    def before_batch(self, samples: Sequence[Sample], number: int) -> None:
        """Fail, wait or end the process as that batch of this process has to."""
        self.before_load()
        time.sleep(self.slow_s)
        while exists(self.hang_while):
            time.sleep(POLL_S)
        if number == self.lost_on_batch:
            raise DeviceLost(f"the device is lost in batch {number}")
        if exists(self.fail_while):
            raise RuntimeError("the device fails")
        if has_colour(samples, self.crash_colour):
            end_process(self.crash_by)
        if len(samples) > (self.oom_above or len(samples)) or has_colour(samples, self.oom_colour):
            raise DeviceOutOfMemory(f"no memory for {len(samples)} samples")


def exists(path: Path | None) -> bool:
    """Return whether a fault that lasts as long as a file is on."""
    return path is not None and path.exists()


def has_colour(samples: Sequence[Sample], colour: Colour | None) -> bool:
    """Return whether an image of the batch has that colour on average."""
    if colour is None:
        return False
    averages = np.stack([sample.pixels.mean((0, 1)) for sample in samples if not sample.normalised])
    return bool((np.abs(averages - np.array(colour)) <= TOLERANCE).all(-1).any())


def end_process(by: str) -> None:
    """End this process by an exit or a signal."""
    if by == "exit":
        os._exit(9)
    os.kill(os.getpid(), signal.Signals[f"SIG{by}"])
    time.sleep(60)  # until the signal is handled


def colour(text: str) -> Colour:
    """Return the colour that R,G,B stands for."""
    return tuple(map(int, text.split(",")))


READERS = {
    "workers": lambda text: tuple(text.split(",")),
    "oom_above": int,
    "oom_colour": colour,
    "lost_on_batch": int,
    "lost_while": Path,
    "fail_while": Path,
    "hang_while": Path,
    "crash_colour": colour,
    "crash_by": str,
    "die_at_start_while": Path,
    "slow_s": float,
}


def read(environ: Mapping[str, str], worker: str) -> Faults:
    """Return the faults of a worker."""
    given = {name: variable(environ, name) for name in READERS}
    found = Faults(**{name: READERS[name](text) for name, text in given.items() if text})
    return found if not found.workers or worker in found.workers else Faults()


def variable(environ: Mapping[str, str], name: str) -> str:
    """Return the text of a fault, empty if it is not given."""
    return environ.get(PREFIX + name.upper(), "")
