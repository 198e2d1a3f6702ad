"""A worker with a faulty device."""

import os

from service.processes.worker import Worker, start
from tests.faulty import faults
from tests.faulty.backend import FaultyBackend, LightBackend
from twins.running import Running


class FaultyWorker(Worker):
    """A worker whose backend has the faults of the environment."""

    def open_backend(self, running: Running) -> FaultyBackend:
        """Open the device."""
        found = faults.read(os.environ, self.config.role)
        if faults.exists(found.die_at_start_while):
            faults.end_process("exit")
        is_real = faults.variable(os.environ, "backend") == "real"
        return FaultyBackend(super().open_backend(running) if is_real else LightBackend(self.device), found)

    @property
    def device(self) -> str:
        """Return the name of the device of a fake backend."""
        return self.config.device.replace("auto", "cpu")


if __name__ == "__main__":
    start(FaultyWorker)
