"""Every detection model of the zoo, from files as their projects write them, with random values."""

import math

import numpy as np
import pytest
import torch
from PIL import Image

import twins
from tests.golden import names
from twins.errors import WeightsUnavailable
from twins.images.input_image import InputImage
from twins.preprocessing import Preprocessing
from twins.runtime.plan import Plan
from twins.runtime.torch import TorchModel
from twins.tasks.detect import DETECT, DetectOptions
from twins.zoo.loading import load
from twins.zoo.models import PUBLISHED_DETECTORS, ZOO, ModelReference, find_entry
from twins.zoo.sources import Unpublished, Url

UNPUBLISHED = [name for name, entry in ZOO.items() if isinstance(entry.source, Unpublished)]
META = {
    "2.x": {"mmdet_version": "2.28.2", "epoch": 12, "CLASSES": tuple(f"thing {i}" for i in range(80))},
    "3.x": {"mmengine_version": "0.10.4", "dataset_meta": {"classes": tuple(f"thing {i}" for i in range(80))}},
}
MILLIONS = {  # of parameters in the tables 3, 4 and 8 of the paper
    "twins_pcpvt_small_retinanet_coco": 34.4,
    "twins_pcpvt_base_retinanet_coco": 54.1,
    "twins_pcpvt_large_retinanet_coco": 71.2,
    "twins_svt_small_retinanet_coco": 34.3,
    "twins_svt_base_retinanet_coco": 67.0,
    "twins_svt_large_retinanet_coco": 110.9,
    "twins_pcpvt_small_maskrcnn_coco": 44.3,
    "twins_pcpvt_base_maskrcnn_coco": 64.0,
    "twins_pcpvt_large_maskrcnn_coco": 81.2,
    "twins_svt_small_maskrcnn_coco": 44.0,
    "twins_svt_base_maskrcnn_coco": 76.3,
    "twins_svt_large_maskrcnn_coco": 119.7,
}


def test_there_is_one_for_each_backbone_and_head():
    assert sorted(UNPUBLISHED) == sorted(MILLIONS)


@pytest.fixture(params=[(name, version) for name in UNPUBLISHED for version in META], ids="-".join)
def checkpoint(request, tmp_path):
    name, version = request.param
    entry = find_entry(name)
    state = names.cheap_state(names.mmdet(entry.variant, entry.head))
    content = {"meta": META[version], "state_dict": state, "optimizer": {"state": {}, "param_groups": []}}
    if version == "3.x":
        content |= {"message_hub": {"log_scalars": {}, "runtime_info": {}, "resumed_keys": {}}, "param_schedulers": []}
    torch.save(content, tmp_path / "epoch_12.pth")
    return ModelReference(name, tmp_path / "epoch_12.pth", preprocessing=Preprocessing(size=64))


def test_a_file_of_mmdetection_loads_strictly_and_answers(checkpoint):
    model = TorchModel(load(checkpoint), Plan())
    assert (model.card.task, model.card.labels[7].name) == ("detect", "thing 7")
    image = InputImage.whole(Image.fromarray(np.zeros((60, 80, 3), np.uint8)))
    options = DetectOptions(threshold=0)
    (output,) = model.run([DETECT.preprocess(image, model.card, options)])
    result = DETECT.postprocess(output, model.card, options)
    assert len(result.detections) == options.max_detections
    assert (result.detections[0].mask(result.size) is not None) == ("maskrcnn" in checkpoint.name)


@pytest.mark.parametrize("name", PUBLISHED_DETECTORS)
def test_a_file_of_detectron2_loads_strictly_with_its_own_anchors(name, tmp_path):
    entry = find_entry(name)
    content = {"model": names.cheap_state(names.detectron2(entry.variant)), "iteration": 89999}
    torch.save(content, tmp_path / "model_final.pth")
    network = twins.load(name, tmp_path / "model_final.pth")
    assert (network.order, network.neck.relu) == ("size", True)
    assert not [key for key in network.state_dict() if "norm_list" in key]
    (found,) = network(torch.zeros(1, 3, 64, 96)).detections()
    assert found.boxes.shape[1] == 4


@pytest.mark.parametrize("name", PUBLISHED_DETECTORS)
def test_the_published_detectors_have_their_address_and_their_figure(name):
    entry = find_entry(name)
    assert isinstance(entry.source, Url)
    assert entry.source.url.startswith("https://github.com/xiaohu2015/pvt_detectron2/releases/download/")
    assert entry.published.figures == {"box AP": {"pcpvt_small": 44.2, "svt_small": 43.1}[entry.variant]}


@pytest.mark.parametrize("name", MILLIONS)
def test_parameter_counts_are_those_of_the_paper(name):
    entry = find_entry(name)
    shapes = names.mmdet(entry.variant, entry.head).values()  # with what is left from the classifier
    assert sum(map(math.prod, shapes)) / 1e6 == pytest.approx(MILLIONS[name], rel=0.005)


@pytest.mark.parametrize("name", UNPUBLISHED)
def test_without_a_file_the_error_says_so_and_names_what_exists(name):
    with pytest.raises(WeightsUnavailable, match="nobody published") as caught:
        twins.load(name)
    assert f"--model {name}=FILE" in str(caught.value)
    assert all(other in str(caught.value) for other in PUBLISHED_DETECTORS)


def test_another_head_than_the_name_says_is_refused_with_the_right_name(tmp_path):
    torch.save({"state_dict": names.cheap_state(names.mmdet("svt_small", "retinanet"))}, tmp_path / "weights.pth")
    with pytest.raises(twins.errors.CheckpointError, match="twins_svt_small_retinanet_coco="):
        twins.load("twins_svt_small_maskrcnn_coco", tmp_path / "weights.pth")
