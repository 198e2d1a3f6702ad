"""Check that the gRPC interface breaks no client of the last release: `python -m tools.compatibility`.

The rules are those of buf, which reads compiled sources here, so that it needs no configuration.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

from grpc_tools import protoc

from tools.documents import ROOT

SOURCE = Path("twins/v1/twins.proto")
CURRENT = ROOT / "proto"
RELEASED = CURRENT / "released"
BUF = ROOT / ".venv" / "tools" / "node_modules" / ".bin" / "buf"
FOUND = 100  # the status with which buf ends when it has found changes


def breaking(released: Path, current: Path, source: Path = SOURCE) -> list[str]:
    """Return the changes of a source between two folders that break clients, a sentence for each."""
    with tempfile.TemporaryDirectory() as folder:
        before, after = Path(folder) / "before.binpb", Path(folder) / "after.binpb"
        compile_into(before, released, source)
        compile_into(after, current, source)
        command = (BUF, "breaking", after, "--against", before)
        ran = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603, our own files
    if ran.returncode not in (0, FOUND):
        raise RuntimeError(f"buf failed: {ran.stderr}")
    return ran.stdout.splitlines()


def compile_into(target: Path, folder: Path, source: Path) -> None:
    """Compile a source below a folder. Raise ValueError if it is wrong."""
    flags = ("--include_imports", "--include_source_info", f"--descriptor_set_out={target}")
    if protoc.main(["protoc", f"--proto_path={folder}", *flags, str(source)]):
        raise ValueError(f"{folder / source} cannot be compiled")


def last_release() -> Path:
    """Return the folder of the last release."""
    return max(RELEASED.iterdir(), key=lambda folder: [int(part) for part in folder.name.split(".")])


def main() -> int:
    """Print the changes since the last release that break clients. Return 1 if there are any."""
    if not BUF.exists():
        sys.exit("buf is not installed; run `make .venv/tools/installed`")
    release = last_release()
    found = breaking(release, CURRENT)
    print("\n".join(found) or f"nothing breaks the clients of {release.name}")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
