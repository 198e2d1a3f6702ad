"""The pickle in a file of `torch.save`, whose archive is always whole: no code in it may run."""

import io
import sys
import zipfile

from tests.fuzz.target import Target
from tests.fuzz.targets.checkpoints import FILE, read
from twins.errors import CheckpointError

FORBIDDEN = ("os.system", "os.exec", "os.fork", "os.posix_spawn", "subprocess.Popen", "socket.connect")
STORAGE = bytes(256)


def refuse(event: str, _: object) -> None:
    """Fail if a program is started or a connection is opened while a checkpoint is read."""
    assert event not in FORBIDDEN, f"reading a checkpoint caused {event}"


sys.addaudithook(refuse)


def archive(content: bytes) -> bytes:
    """Return a file of `torch.save` with this pickle, and one storage."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name, data in (("data.pkl", content), ("byteorder", b"little"), ("data/0", STORAGE), ("version", b"3\n")):
            file.writestr(zipfile.ZipInfo(f"archive/{name}"), data)
    return buffer.getvalue()


def run(data: bytes) -> None:
    """Read a file with this pickle."""
    read(archive(data), FILE)


TARGET = Target(run, (CheckpointError,), max_memory_mb=1024)
