"""Every published segmentation checkpoint, in the format of its project, with random values."""

import pytest
import torch

import twins
from tests.golden import cases, names
from twins.zoo.loading import load
from twins.zoo.models import OPENMMLAB, ZOO, ModelReference, find_entry
from twins.zoo.sources import Url

SEGMENTERS = [name for name, entry in ZOO.items() if entry.labels == "ade20k"]
FILES = [(name, "mmseg") for name in SEGMENTERS] + [(name, "authors") for name in SEGMENTERS if "upernet" in name]
GOLDEN_NAMES = {
    "mmseg-twins_pcpvt-s_fpn": (names.mmseg, "pcpvt_small", "fpn"),
    "mmseg-twins_svt-s_fpn": (names.mmseg, "svt_small", "fpn"),
    "mmseg-twins_svt-s_uperhead": (names.mmseg, "svt_small", "upernet"),
    "authors-seg-alt_gvt_small": (names.authors, "svt_small", "upernet"),
}
MILLIONS = {  # of parameters that are used: mmsegmentation's table without the auxiliary head
    "twins_pcpvt_small_fpn_ade20k": 27.859,
    "twins_pcpvt_base_fpn_ade20k": 47.581,
    "twins_pcpvt_large_fpn_ade20k": 64.742,
    "twins_svt_small_fpn_ade20k": 27.799,
    "twins_svt_base_fpn_ade20k": 59.676,
    "twins_svt_large_fpn_ade20k": 102.744,
}


@pytest.fixture
def checkpoint(request, tmp_path):
    name, project = request.param
    entry = find_entry(name)
    keys = (names.mmseg if project == "mmseg" else names.authors)(entry.variant, entry.head)
    path = tmp_path / "weights.pth"
    torch.save({"meta": {}, "state_dict": names.cheap_state(keys)}, path)
    return name, path


@pytest.mark.parametrize("prefix", GOLDEN_NAMES)
def test_the_generated_keys_equal_the_published_ones(prefix):
    make, *arguments = GOLDEN_NAMES[prefix]
    (name,) = cases.named(prefix)
    assert make(*arguments) == {key: tuple(shape) for key, shape in cases.read(name).facts["keys"]}


def test_there_are_twelve_with_published_figures():
    assert [set(find_entry(name).published.figures) for name in SEGMENTERS] == [{"mIoU", "mIoU multi-scale"}] * 12


@pytest.mark.parametrize("checkpoint", FILES, indirect=True, ids="-".join)
def test_every_published_file_loads_strictly_and_runs(checkpoint):
    name, path = checkpoint
    loaded = load(ModelReference(name, path))
    with torch.inference_mode():
        assert loaded.network(torch.zeros(1, 3, 64, 96)).shape == (1, 150, 16, 24)
    assert (loaded.card.labels[7].name, loaded.card.labels[7].colour) == ("bed", "#cc05ff")
    assert loaded.card.published is None  # a file of one's own may be any


@pytest.mark.heavy
@pytest.mark.parametrize("checkpoint", FILES, indirect=True, ids="-".join)
def test_every_published_file_runs_at_the_usual_sizes_of_images(checkpoint):
    network = twins.load(*checkpoint)
    for height, width in ((512, 512), (300, 400)):
        with torch.inference_mode():
            logits = network(torch.zeros(1, 3, height, width))
        assert logits.shape == (1, 150, height // 4, width // 4)


@pytest.mark.parametrize("name", MILLIONS)
def test_parameter_counts_are_the_published_ones(name):
    entry = find_entry(name)
    count = sum(parameter.numel() for parameter in names.network(entry.variant, entry.head).parameters())
    assert count / 1e6 == pytest.approx(MILLIONS[name], abs=6e-4)


@pytest.mark.parametrize("name", SEGMENTERS)
def test_addresses_are_those_of_the_files(name):
    source = find_entry(name).source
    assert isinstance(source, Url)
    folder, file = source.url.removeprefix(OPENMMLAB + "/").split("/")
    assert file.startswith(folder + "_2021")
    assert file == f"{file.rpartition('-')[0]}-{source.sha256}.pth"
    assert len(source.sha256) == 8
