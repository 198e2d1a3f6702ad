"""Write the models of the rivals to `.venv/bench/models`: `python -m bench.rivals.prepare`.

It runs in the environment `ours`. A model is its weights, a JSON file, and timm's network exported to ONNX and to
OpenVINO with a dynamic batch.
"""

import json
import shutil
import sys
import warnings

import openvino
import torch

from bench.models.networks import MODELS, export_onnx, source, timm_arguments, timm_classifier, weights
from twins.network.variants import VARIANTS
from twins.zoo import labels
from twins.zoo.models import ZOO

NAMES = ("twins_svt_nano", "twins_svt_small")


def prepare(name: str) -> None:
    """Write the files of one model, the one that completes it last."""
    MODELS.mkdir(parents=True, exist_ok=True)
    done, path = MODELS / f"{name}.json", MODELS / f"{name}.safetensors"
    if (found := weights(name).path) != path:
        shutil.copyfile(found, path)
    wanted = config(name)
    if done.is_file() and json.loads(done.read_text("utf-8")) == wanted:
        return
    export(name)
    done.write_text(json.dumps(wanted), "utf-8")


def config(name: str) -> dict[str, object]:
    """Return what the module `classifier` of the rivals must know of a model."""
    entry = ZOO[name]
    values = entry.preprocessing
    names = [label.name for label in labels.shipped(entry.labels)]
    assert values.size is not None
    assert values.crop is not None
    return {
        "crop": values.size,
        "short_side": int(values.size / values.crop),
        "mean": values.mean,
        "std": values.std,
        "labels": names,
        "made_from": source(name),
        "network": timm_arguments(VARIANTS[entry.variant], classes=len(names)),
    }


def export(name: str) -> None:
    """Write the network for ONNX Runtime and for OpenVINO."""
    size = ZOO[name].preprocessing.size
    assert size is not None
    export_onnx(name, (size, size))
    example = torch.randn(2, 3, size, size)
    converted = openvino.convert_model(timm_classifier(name), example_input=example)
    openvino.save_model(converted, MODELS / source(name) / f"{name}.xml", compress_to_fp16=False)


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    for each in sys.argv[1:] or NAMES:
        prepare(each)
