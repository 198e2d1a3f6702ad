"""The work that every rival does for an image: decode, preprocess, forward, the five best classes.

The scripts of the rivals import this module from their folder, in environments that do not have this project. The
files of a model are written by `bench.rivals.prepare`. The variables RIVAL_MODEL, RIVAL_RUNTIME and RIVAL_THREADS
choose the model, the runtime (torch, openvino or onnxruntime) and its threads.
"""

import io
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import load_file
from timm_networks import Twins

FOLDER = Path(__file__).parents[2] / ".venv" / "bench" / "models"
MODEL = os.environ.get("RIVAL_MODEL", "twins_svt_nano")
RUNTIME = os.environ.get("RIVAL_RUNTIME", "torch")
THREADS = int(os.environ.get("RIVAL_THREADS", "1"))
PORT = int(os.environ.get("RIVAL_PORT", "8000"))
MAX_BATCH = 8  # the default of the service on a CPU

Array = NDArray[np.float32]
Forward = Callable[[Array], Array]


def preprocess(body: bytes) -> Array:
    """Return the input of the network for an encoded image, C H W, as timm's evaluation transform does it."""
    image = Image.open(io.BytesIO(body)).convert("RGB")
    short, crop = CONFIG["short_side"], CONFIG["crop"]
    scale = min(image.size)
    image = image.resize((short * image.width // scale, short * image.height // scale), Image.Resampling.BICUBIC)
    left, top = round((image.width - crop) / 2), round((image.height - crop) / 2)
    pixels = np.asarray(image.crop((left, top, left + crop, top + crop)), np.float32)
    return np.ascontiguousarray(((pixels - MEAN) / STD).transpose(2, 0, 1))


class Classifier:
    """A model in memory."""

    def __init__(self) -> None:
        self.forward = RUNTIMES[RUNTIME]()
        for size in range(1, MAX_BATCH + 1):  # so that no client pays for a first batch
            self.predict([np.zeros((3, CONFIG["crop"], CONFIG["crop"]), np.float32)] * size)

    def predict(self, batch: Sequence[Array]) -> list[dict[str, Any]]:
        """Return the five best classes of each input."""
        logits = torch.from_numpy(self.forward(np.stack(batch)))
        scores, ids = logits.softmax(1).topk(5)
        return [answer(*row) for row in zip(ids.tolist(), scores.tolist(), strict=True)]


def answer(ids: Sequence[int], scores: Sequence[float]) -> dict[str, Any]:
    """Return the JSON of one image."""
    best = zip(ids, scores, strict=True)
    return {"predictions": [{"label": CONFIG["labels"][i], "class_id": i, "score": score} for i, score in best]}


def network() -> torch.nn.Module:
    """Return timm's network with the weights of the model."""
    built = Twins(**CONFIG["network"])
    built.load_state_dict(load_file(FOLDER / f"{MODEL}.safetensors"))
    return built.eval()


def torch_forward() -> Forward:
    """Return the forward pass of PyTorch."""
    torch.set_num_threads(THREADS)
    loaded = network()

    def forward(batch: Array) -> Array:
        with torch.inference_mode():
            return loaded(torch.from_numpy(batch)).numpy()

    return forward


def openvino_forward() -> Forward:
    """Return the forward pass of OpenVINO with a compiled model for each batch size, as the service has it."""
    import openvino

    torch.set_num_threads(1)
    core, compiled = openvino.Core(), {}
    source = core.read_model(FOLDER / CONFIG["made_from"] / f"{MODEL}.xml")
    options = {"INFERENCE_NUM_THREADS": THREADS, "PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}

    def forward(batch: Array) -> Array:
        if len(batch) not in compiled:
            fixed = source.clone()
            fixed.reshape(list(batch.shape))
            compiled[len(batch)] = core.compile_model(fixed, "CPU", options).create_infer_request()
        return compiled[len(batch)].infer([batch], share_inputs=True)[0]

    return forward


def onnxruntime_forward() -> Forward:
    """Return the forward pass of ONNX Runtime."""
    import onnxruntime

    torch.set_num_threads(1)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = THREADS
    session = onnxruntime.InferenceSession(
        FOLDER / CONFIG["made_from"] / f"{MODEL}.onnx", options, providers=["CPUExecutionProvider"]
    )
    name = session.get_inputs()[0].name

    def forward(batch: Array) -> Array:
        return session.run(None, {name: batch})[0]

    return forward


RUNTIMES = {"torch": torch_forward, "openvino": openvino_forward, "onnxruntime": onnxruntime_forward}

CONFIG: dict[str, Any] = json.loads((FOLDER / f"{MODEL}.json").read_text("utf-8"))
MEAN, STD = (np.array(CONFIG[key], np.float32) * 255 for key in ("mean", "std"))
