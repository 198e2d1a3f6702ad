"""The formats of classifications."""

from collections.abc import Mapping

import msgspec

from twins.render import huggingface
from twins.render.renderer import JSON, Renderer, RenderInput


class PredictionBody(msgspec.Struct, frozen=True, omit_defaults=True):
    """One class; `synset` is WordNet's id, if the labels have one."""

    label: str
    class_id: int
    score: float
    synset: str | None = None


class ClassifyAnswer(msgspec.Struct, frozen=True):
    """One image's classes, best first."""

    model: str
    predictions: list[PredictionBody]


def encode_json(inputs: RenderInput) -> bytes:
    """Return the classes with the name of the model."""
    predictions = [PredictionBody(p.label, p.class_id, p.score, p.synset) for p in inputs.result.predictions]
    return msgspec.json.encode(ClassifyAnswer(inputs.card.key, predictions))


def encode_huggingface(inputs: RenderInput) -> bytes:
    """Return the list that Hugging Face's image classification task returns."""
    return msgspec.json.encode(huggingface.labels(inputs.result))


CLASSIFY_RENDERERS: Mapping[str, Renderer] = {
    "json": Renderer({JSON: encode_json}, document=ClassifyAnswer),
    "hf": Renderer({JSON: encode_huggingface}, document=tuple[huggingface.LabelScore, ...]),
}
"""By the format's name."""
