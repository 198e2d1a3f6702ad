"""Files that are given by mistake: each is named, with what to do instead."""

import io
import pickle
import zipfile

import pytest
import torch

from tests import checkpoints
from tests.checkpoints import TINY_SVT
from twins.checkpoints import checkpoint
from twins.errors import CheckpointError

RAW = ("Error", "Exception", "Traceback", "Unpickl", "torch.load", "header", "invalid")
"""Words of PyTorch's, safetensors' and Python's own messages."""


def refusal(path):
    with pytest.raises(CheckpointError) as caught:
        checkpoint.load(path)
    return str(caught.value)


def truncated_archive():
    buffer = io.BytesIO()
    torch.save(checkpoints.seeded(TINY_SVT, 3), buffer)
    return buffer.getvalue()[:50_000]


def other_archive():
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("word/document.xml", "<xml/>")
    return buffer.getvalue()


MISTAKES = {
    "text": (b"layer1: 3\nlayer2: 4\n", "this is a text file"),
    "text that is cut in a character": (b"a" * 1023 + "é".encode(), "this is a text file"),
    "JSON": (b'{"architecture": "twins_svt_small"}', "this is a text file"),
    "HTML": (b"\n<!DOCTYPE html><html><body>Quota exceeded</body></html>", "web page instead of the file"),
    "LFS": (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n", "git lfs pull"),
    "empty": (b"", "the file is empty"),
    "gzip": (b"\x1f\x8b\x08\0" + bytes(50), "Unpack it"),
    "a plain pickle": (pickle.dumps({"weight": [0.5] * 99}), "this is a plain pickle"),
    "truncated": (truncated_archive(), "damaged or incomplete"),
    "other archive": (other_archive(), "`torch.save` did not write it"),
    "noise": (bytes(range(255, 0, -1)) * 9, "not a PyTorch checkpoint, or it is damaged"),
    "safetensors without its end": (
        (100).to_bytes(8, "little") + b'{"a":{"dtype":"F32"',
        "the safetensors file is damaged or incomplete",
    ),
}


@pytest.mark.parametrize("suffix", [".pth", ".safetensors", ""])
@pytest.mark.parametrize("kind", MISTAKES)
def test_a_mistaken_file_is_named_with_its_remedy(tmp_path, kind, suffix):
    content, words = MISTAKES[kind]
    path = tmp_path / f"weights{suffix}"
    path.write_bytes(content)
    message = refusal(path)
    assert message.startswith(f"{path}: ")
    assert words in message
    assert not [word for word in RAW if word in message.removeprefix(str(path))]


@pytest.mark.filterwarnings("error")
def test_a_file_of_an_old_pytorch_is_read_without_a_warning(tmp_path):
    state = checkpoints.seeded(TINY_SVT, 3)
    torch.save(state, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    assert checkpoint.load(tmp_path / "old.pth").state.keys() == state.keys()


@pytest.mark.filterwarnings("ignore")  # TorchScript is deprecated
def test_a_torchscript_file_is_called_that(tmp_path):
    torch.jit.script(torch.nn.Linear(1, 1)).save(tmp_path / "weights.pt")
    message = refusal(tmp_path / "weights.pt")
    assert "TorchScript" in message
    assert "torch.save(model.state_dict(), PATH)" in message


def test_a_directory_is_answered_with_the_file_in_it(tmp_path):
    assert "this is a directory" in refusal(tmp_path)
    (tmp_path / "pytorch_model.bin").touch()
    assert f"Give the file {tmp_path / 'pytorch_model.bin'} instead" in refusal(tmp_path)


def test_an_unknown_container_key_is_answered_with_the_key_that_looks_right(tmp_path):
    torch.save({"epoch": 3, "net": checkpoints.seeded(TINY_SVT, 3)}, tmp_path / "weights.pth")
    message = refusal(tmp_path / "weights.pth")
    assert "its keys are epoch, net" in message
    assert "`torch.save(content['net'], PATH)`" in message


def test_a_container_without_weights_is_answered_with_how_to_save_them(tmp_path):
    torch.save({"epoch": 3, "lr": 0.1}, tmp_path / "weights.pth")
    message = refusal(tmp_path / "weights.pth")
    assert "its keys are epoch, lr" in message
    assert "torch.save(model.state_dict(), PATH)" in message


@pytest.mark.parametrize("name", ["weights.pth", "weights.safetensors", "weights"])
@pytest.mark.parametrize("form", ["safetensors", "bin"])
def test_the_content_of_a_file_decides_how_it_is_read(tmp_path, name, form):
    state = checkpoints.seeded(TINY_SVT, 3)
    written = checkpoints.WRITERS[form](state, tmp_path / "original")
    found = checkpoint.load(written.rename(tmp_path / name))
    assert found.state.keys() == state.keys()
