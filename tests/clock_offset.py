"""A clock of the day that a test sets, by the library of `clock_offset.c`."""

import shutil
import struct
import subprocess
from pathlib import Path

COMPILER = shutil.which("cc")
SOURCE = Path(__file__).with_name("clock_offset.c")


class ClockOffset:
    """Seconds that are added to the clock of the day in processes with the environment `environ`."""

    def __init__(self, folder: Path) -> None:
        assert COMPILER
        self.file, library = folder / "offset", folder / "clock.so"
        self.file.write_bytes(bytes(8))
        subprocess.run([COMPILER, "-O2", "-shared", "-fPIC", "-o", str(library), str(SOURCE)], check=True)
        self.environ = {"LD_PRELOAD": str(library), "CLOCK_OFFSET": str(self.file)}

    def set(self, seconds: int) -> None:
        """Set the clock to that many seconds from the true time. The processes see the file without opening it."""
        with self.file.open("r+b") as file:
            file.write(struct.pack("q", seconds))
