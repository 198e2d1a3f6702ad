"""No file takes more memory than its own size: what it claims beyond that is refused before memory is taken."""

import io
import json
import pickle
import struct
import subprocess
import sys
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from contextlib import nullcontext

import pytest
import torch

from tests.checkpoints import TINY_SVT, State, seeded
from twins.checkpoints import checkpoint, claims
from twins.errors import CheckpointError

HUGE = 2**28  # elements: a gigabyte, of which no test may take a part
MOST_MB = 100  # that reading may take beyond what this process has

READ = """
import sys
from pathlib import Path
from twins.checkpoints import checkpoint
from twins.errors import CheckpointError

def peak_mb():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))

for path in map(Path, sys.argv[1:]):
    before, messages = peak_mb(), []
    for tolerant in (False, True):
        try:
            checkpoint.build(checkpoint.load(path, tolerant=tolerant))
            messages.append("no refusal")
        except CheckpointError as error:
            messages.append(str(error).replace(chr(10), " "))
    print(path.name, round(peak_mb() - before), *messages, sep="|")
"""


@pytest.fixture(scope="module")
def tiny() -> State:
    return seeded(TINY_SVT, 13)


def saved(content: object, *, old: bool = False) -> bytes:
    """Return what `torch.save` writes."""
    buffer = io.BytesIO()
    torch.save(content, buffer, _use_new_zipfile_serialization=not old)
    return buffer.getvalue()


def rewritten(content: bytes, change, *, compression: int = zipfile.ZIP_STORED) -> bytes:
    """Return an archive whose entries are changed."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as archive, zipfile.ZipFile(buffer, "w", compression) as changed:
        for name in archive.namelist():
            changed.writestr(name, change(name, archive.read(name)))
    return buffer.getvalue()


def claiming(stored: int, *, offset: int = 0, size: tuple = (1,), stride: tuple = (1,), old: bool = False) -> bytes:
    """Return a file with a storage of one element which is said to have more, and a tensor in it."""

    class Lie:
        def __reduce__(self):
            return torch._utils._rebuild_tensor_v2, (Stored(), offset, size, stride, False, OrderedDict())

    class Stored:
        pass

    class Pickler(pickle.Pickler):
        def persistent_id(self, value):
            tail = (None,) if old else ()
            return ("storage", torch.FloatStorage, "0", "cpu", stored, *tail) if isinstance(value, Stored) else None

    def written(content: object) -> bytes:
        buffer = io.BytesIO()
        Pickler(buffer, 2).dump(content)
        return buffer.getvalue()

    content = written({"head.weight": Lie()})
    if not old:
        kept = saved({"head.weight": torch.zeros(1)})
        return rewritten(kept, lambda name, data: content if name.endswith("data.pkl") else data)
    header = [torch.serialization.MAGIC_NUMBER, torch.serialization.PROTOCOL_VERSION, {"little_endian": True}]
    return b"".join(map(written, header)) + content + written(["0"]) + struct.pack("<qf", stored, 0.0)


def overstated(tiny: State) -> bytes:
    """Return a safetensors file whose header says that a tensor is huge."""
    import safetensors.torch

    content = safetensors.torch.save({key: value.contiguous() for key, value in tiny.items()})
    end = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:end])
    header["head.weight"]["shape"][0] = HUGE
    start = header["head.weight"]["data_offsets"][0]
    header["head.weight"]["data_offsets"][1] = start + 4 * HUGE * header["head.weight"]["shape"][1]
    lie = json.dumps(header).encode()
    return struct.pack("<Q", len(lie)) + lie + content[end:]


def quantised() -> bytes:
    """Return a file with a quantised tensor, whose kind PyTorch has deprecated."""
    with warnings.catch_warnings(action="ignore"):
        return saved({"a": torch.quantize_per_tensor(torch.zeros(4), 1.0, 0, torch.quint8)})


def compressed() -> bytes:
    """Return an archive of one kilobyte per megabyte of its tensor."""
    return rewritten(saved({"a": torch.zeros(2**26)}), lambda _, data: data, compression=zipfile.ZIP_DEFLATED)


def expanded(tiny: State, *, old: bool = False) -> bytes:
    """Return a network of very many classes, whose rows are one number."""
    return saved({**tiny, "head.weight": torch.zeros(1).expand(2**26, tiny["head.weight"].shape[1])} | BIASES, old=old)


BIASES = {"head.bias": torch.zeros(1).expand(2**26)}
BOMBS: dict[str, Callable[[State], bytes]] = {
    "is damaged or incomplete": overstated,
    "claims": lambda _: claiming(HUGE),
    f"claims {4 * HUGE} bytes": lambda _: claiming(HUGE, old=True),
    "exceeds its storage of 1 elements": lambda _: claiming(1, size=(HUGE,)),
    "exceeds its storage": lambda _: claiming(1, offset=HUGE),
    "that exceeds its storage of 1": lambda _: claiming(1, size=(2**17, 2**17), stride=(2**17, 1), old=True),
    "repeats the values of its tensors": expanded,
    "repeats the values": lambda tiny: expanded(tiny, old=True),
    "compressed entries": lambda _: compressed(),
    "a tensor is quantised": lambda _: quantised(),
}
"""Files that ask for far more memory than they have bytes, by the words of their refusal."""


@pytest.fixture(scope="module")
def read(tmp_path_factory, tiny) -> dict[str, list[str]]:
    """Return what one process says of each bomb: how many megabytes it takes at most, and the two refusals."""
    folder = tmp_path_factory.mktemp("bombs")
    paths = [folder / str(number) for number in range(len(BOMBS))]
    for path, make in zip(paths, BOMBS.values(), strict=True):
        path.write_bytes(make(tiny))
    done = subprocess.run([sys.executable, "-c", READ, *paths], capture_output=True, text=True, check=True)
    lines = [line.split("|")[1:] for line in done.stdout.splitlines()]
    return dict(zip(BOMBS, lines, strict=True))


@pytest.mark.parametrize("words", BOMBS)
def test_a_file_that_asks_for_more_memory_than_it_has_bytes_is_refused_before_it_is_taken(read, words):
    megabytes, *refusals = read[words]
    assert int(megabytes) < MOST_MB
    assert all(words in refusal for refusal in refusals)


@pytest.mark.parametrize("repeated", [False, True])
def test_tensors_that_share_a_storage_may_repeat_half_a_gigabyte_of_it(repeated):
    storage = torch.zeros(2**20)
    state = {str(number): storage for number in range(128 + repeated)}
    with pytest.raises(CheckpointError, match="repeats the values") if repeated else nullcontext():
        checkpoint.check_memory(state)


def test_entries_that_overlap_are_refused(tmp_path):
    content = saved({"a": torch.zeros(2**16)})
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        (entry,) = (each for each in archive.infolist() if each.filename.endswith("data/0"))
    buffer = io.BytesIO(content)
    with zipfile.ZipFile(buffer, "a") as archive:
        for number in range(1, 9):  # entries of the directory over the bytes of one
            twin = zipfile.ZipInfo(entry.filename[:-1] + str(number))
            for field in ("header_offset", "file_size", "compress_size", "CRC"):
                setattr(twin, field, getattr(entry, field))
            archive.filelist.append(twin)
        archive._didModify = True
    (tmp_path / "a.pth").write_bytes(buffer.getvalue())
    with pytest.raises(CheckpointError, match="overlap"):
        claims.check(tmp_path / "a.pth")


TYPES = (torch.bfloat16, torch.uint16, torch.int64, torch.complex128)
HONEST = {
    "views of one storage": lambda: {"a": torch.zeros(10)[:5], "b": torch.zeros(4, 4).t()},
    "empty": lambda: {"a": torch.zeros(0, 5), "b": torch.tensor(1.0)},
    "every type": lambda: {str(kind): torch.zeros(3, dtype=kind) for kind in TYPES},
    "a parameter": lambda: {"a": torch.nn.Parameter(torch.zeros(3))},
    "beside an optimiser": lambda: {"state_dict": {"a": torch.zeros(3)}, "state": {0: {"step": torch.tensor(3.0)}}},
    "beside an expanded tensor": lambda: {"model": {"a": torch.zeros(3)}, "x": torch.zeros(1).expand(9)},
}


@pytest.mark.parametrize("old", [False, True], ids=["archive", "old format"])
@pytest.mark.parametrize("case", HONEST)
def test_a_file_that_claims_what_it_has_is_read(tmp_path, case, old):
    (tmp_path / "a.pth").write_bytes(saved(HONEST[case](), old=old))
    claims.check(tmp_path / "a.pth")


def test_the_archive_that_is_checked_is_the_one_that_is_read(tmp_path, tiny):
    """PyTorch looks at the first bytes, and other readers of archives at the last ones."""
    (tmp_path / "a.pth").write_bytes(claiming(HUGE, old=True) + saved(tiny))
    with pytest.raises(CheckpointError, match="claims"):
        checkpoint.load(tmp_path / "a.pth")
