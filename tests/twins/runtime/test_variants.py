"""Every kind of backbone on every backend, and as a file of every format: the logits of PyTorch."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from tests import checkpoints, forward
from tests.checkpoints import TINY_PCPVT, TINY_SVT
from twins.checkpoints import checkpoint
from twins.network.variants import Variant, first_stages
from twins.runtime import files
from twins.zoo.loading import load
from twins.zoo.models import ModelReference

CLASSES = 12
SHALLOW = replace(TINY_SVT, depths=(1, 2, 1, 1), pattern=("L", "GL", "G", "G"))
KINDS: dict[str, Variant] = {
    "mixed": first_stages(replace(SHALLOW, subsampling="average", positions="absolute", window=4), 3),
    "three stages": first_stages(replace(SHALLOW, encode_after=-1), 3),
    "separable": replace(SHALLOW, subsampling="separable"),
    "average": replace(SHALLOW, subsampling="average", reductions=(4, 2, 2, 1)),
    "absolute": replace(TINY_PCPVT, positions="absolute"),
    "no positions": replace(SHALLOW, positions="none", window=4),
}
SLOW = ("onnx", "torch-export")  # formats for which one kind, which has all that is unusual, is enough
SIZES = [(1, 64, 96), (2, 224, 224), (1, 75, 140)]
TOLERANCE = 1e-4


def pairs(names):
    """Return each kind with each name. Slow pairs are heavy tests."""
    return [
        pytest.param(kind, name, marks=forward.LONG if name in SLOW and kind != "mixed" else [])
        for kind in KINDS
        for name in names
    ]


@pytest.fixture
def reference(kind, tmp_path_factory):
    path, variant = tmp_path_factory.mktemp("kind") / "kind.safetensors", KINDS[kind]
    found = checkpoint.recognise(checkpoints.seeded(variant, CLASSES), {})
    names = tuple(f"class {index}" for index in range(CLASSES))
    checkpoint.save(replace(found, variant=variant, declared=replace(found.declared, labels=names)), path)
    return ModelReference("kind", path)


@pytest.mark.parametrize(("kind", "backend"), pairs(forward.BACKENDS))
def test_every_backend_gives_the_logits_of_pytorch_at_every_size(reference, backend):
    network, model = load(reference).network, forward.load(backend, reference)
    for size in SIZES:
        batch = np.random.default_rng(0).standard_normal((size[0], 3, *size[1:])).astype(np.float32)
        with torch.inference_mode():
            wanted = network(torch.from_numpy(batch))
        assert (forward.logits(model, batch) - wanted).abs().max() <= TOLERANCE * wanted.std()


@pytest.mark.parametrize(("kind", "name"), pairs(["openvino", "torch-export"]))
def test_files_have_the_logits_of_pytorch(reference, name, tmp_path):
    """`export` compares the file with the network at several sizes, and writes nothing if they differ."""
    path = tmp_path / f"kind{files.FORMATS[name].suffixes[0]}"
    assert files.export(load(reference), name, path).ports
    assert path.is_file()
