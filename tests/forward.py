"""The output of a network on each backend that is installed, before it is reduced."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from twins.running import BackendName
from twins.runtime import exports
from twins.runtime.backend import Model
from twins.runtime.choice import LIBRARIES, is_installed, open_backend
from twins.runtime.onnx import OnnxModel
from twins.runtime.openvino import OpenVinoModel
from twins.runtime.plan import Plan
from twins.runtime.torch import TorchModel
from twins.tasks import TASKS
from twins.tasks.sample import Sample
from twins.zoo.models import ModelReference

BACKENDS = [name for name, each in LIBRARIES.items() if "cpu" in each.devices and is_installed(name)]
"""The backends that tests run; `compile` takes minutes to compile a network."""
BACKENDS.remove("compile")
LONG = [pytest.mark.heavy, pytest.mark.timeout(1200)]
"""For the conversion of a whole network to ONNX. It takes half a minute, or many on a busy machine."""
PARAMETERS = [pytest.param(name, marks=LONG if name == "onnx" else []) for name in BACKENDS]
"""The backends, for whole networks."""

Forward = Callable[[Model, NDArray[np.float32]], NDArray[np.float32]]


def load(backend: BackendName, reference: ModelReference) -> Model:
    """Return a model on a backend. What is exported for it is not stored."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exports, "exports_folder", lambda: Path(os.devnull) / "exported")
        return open_backend(Plan(backend=backend)).load(reference)


def logits(model: Model, batch: NDArray[np.float32]) -> torch.Tensor:
    """Return the logits of a normalised batch, B 3 H W."""
    return torch.from_numpy(FORWARD[type(model)](model, batch))


def by_torch(model: TorchModel, batch: NDArray[np.float32]) -> NDArray[np.float32]:
    with torch.inference_mode():
        return model.network(torch.from_numpy(batch)).numpy()


def by_openvino(model: OpenVinoModel, batch: NDArray[np.float32]) -> NDArray[np.float32]:
    request = model.start(samples(model, batch), model.whole, 0)
    request.wait()
    return request.get_tensor("__call__").data.copy()


def by_onnx(model: OnnxModel, batch: NDArray[np.float32]) -> NDArray[np.float32]:
    return model.infer(samples(model, batch), "__call__")


def samples(model: Model, batch: NDArray[np.float32]) -> list[Sample]:
    params = TASKS[model.card.task].blank(model.card).params
    return [Sample(each, params) for each in batch]


FORWARD: Mapping[type, Forward] = {TorchModel: by_torch, OpenVinoModel: by_openvino, OnnxModel: by_onnx}
