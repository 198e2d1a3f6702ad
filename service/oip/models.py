"""The models as the protocol describes them: metadata, configuration, and the index of the repository."""

from collections.abc import Iterable
from typing import Any

from service.oip.inputs import IMAGE, INPUT, PIXELS
from service.oip.outputs import ERRORS, offered
from service.oip.tensors import BYTES
from service.settings import Settings
from twins import __version__
from twins.card import Card

EXTENSIONS = (
    *("binary_tensor_data", "classification", "model_configuration", "model_repository", "parameters"),
    *("schedule_policy", "statistics"),
)
SERVER = {"name": "twins", "version": __version__, "extensions": EXTENSIONS}


def metadata(card: Card, served: Iterable[Card]) -> dict[str, Any]:
    """Return the metadata of a model, and which of its versions are served. -1 stands for any length."""
    return {
        "name": card.name,
        "versions": sorted((each.version for each in served if each.name == card.name), key=int),
        "platform": card.backend or "",
        "inputs": [{"name": n, "datatype": kind, "shape": shape} for n, kind, shape in inputs(card)],
        "outputs": [{"name": n, "datatype": kind, "shape": shape} for n, kind, shape in outputs(card)],
    }


def inputs(card: Card) -> list[tuple[str, str, list[int]]]:
    """Return the name, data type and shape of each input. A request has one of them."""
    height, width = (card.geometry.crop, card.geometry.crop) if card.geometry.crop else (-1, -1)
    return [
        (IMAGE, BYTES, [-1, 1]),
        (PIXELS, "UINT8", [-1, -1, -1, 3]),
        (INPUT, "FP32", [-1, 3, height, width]),
    ]


def outputs(card: Card) -> list[tuple[str, str, list[int]]]:
    """Return the name, data type and shape of each output."""
    found = [(name, output.datatype(card), list(output.shape)) for name, (_, output) in offered(card).items()]
    return [*found, (ERRORS, BYTES, [-1])]


def configuration(card: Card, settings: Settings) -> dict[str, Any]:
    """Return the configuration of a model in Triton's form. The first dimension of each tensor is the batch's."""
    return {
        "name": card.name,
        "platform": card.backend or "",
        "backend": "twins",
        "version_policy": {"latest": {"num_versions": 1}},
        "max_batch_size": settings.max_images,
        "input": [
            {"name": name, "data_type": data_type(kind), "dims": shape[1:], "optional": name != IMAGE}
            for name, kind, shape in inputs(card)
        ],
        "output": [
            {"name": name, "data_type": data_type(kind), "dims": shape[1:]} for name, kind, shape in outputs(card)
        ],
        "dynamic_batching": {"max_queue_delay_microseconds": round(settings.max_delay_ms * 1000)},
        "parameters": {"task": {"string_value": card.task}},
        "model_transaction_policy": {"decoupled": False},
    }


def data_type(datatype: str) -> str:
    """Return the name that a configuration has for a data type."""
    return "TYPE_STRING" if datatype == BYTES else f"TYPE_{datatype}"
