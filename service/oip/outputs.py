"""The output tensors of each task.

A request has N images. An image that failed has no values: NaN, -1 or an empty text stand in their place, and the
output `errors` says why.

Legend: N images · K classes in the answer · C classes of the model · D detections · H W mask
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from service.errors import BadRequest, ServiceError
from service.oip.tensors import BYTES, Tensor, numbers, texts
from twins.card import MAX_UINT8_CLASSES, TOP_K_LIMIT, Card
from twins.render import rle
from twins.tasks import TASKS
from twins.tasks.classify import CLASSIFY, Classification, Prediction
from twins.tasks.detect import DETECT
from twins.tasks.detection import Detection, DetectionResult
from twins.tasks.embed import EMBED, Embedding
from twins.tasks.segment import SEGMENT
from twins.tasks.segmentation import Segmentation, ignore_index

ERRORS = "errors"
SMALLEST = float(np.finfo(np.float32).tiny)  # the least score whose logarithm is taken

Results = Sequence[Any]  # of the images, in order; None for one that failed


@dataclass(frozen=True)
class OutputTensor:
    """One output of a task."""

    name: str
    shape: tuple[int, ...]  # -1 for any length
    datatype: Callable[[Card], str]
    build: Callable[[Results, Card, Any], Any]  # the values, of the results, the card and the options
    usual: bool = True  # whether requests that name no output get it
    options: Mapping[str, Any] | None = None  # that it needs

    def tensor(self, results: Results, card: Card, options: Any) -> Tensor:
        """Return the tensor. Raise BadRequest if the results do not fit one tensor."""
        values, datatype = self.build(results, card, options), self.datatype(card)
        return texts(self.name, values) if datatype == BYTES else numbers(self.name, datatype, values)


def always(datatype: str) -> Callable[[Card], str]:
    """Return the data type of an output that does not depend on the model."""
    return lambda _: datatype


def filled(rows: Sequence[Sequence[Any]], missing: Any, dtype: Any) -> Any:
    """Return rows of different lengths as an array, filled up with `missing`."""
    array = np.full((len(rows), max(map(len, rows), default=0)), missing, dtype)
    for index, row in enumerate(rows):
        array[index, : len(row)] = row
    return array


# ---------------------------------------------------------------------- classification


def of_predictions(value: Callable[[Prediction], Any], missing: Any, dtype: Any) -> Callable[[Results, Card, Any], Any]:
    """Return the function that builds an output with a value of each prediction, N K."""

    def build(results: Sequence[Classification | None], _: Card, options: Any) -> Any:
        rows = [[value(each) for each in found.predictions[: options.top_k]] if found else [] for found in results]
        return filled(rows, missing, dtype)

    return build


def logit(prediction: Prediction) -> float:
    """Return the logarithm of a score."""
    return math.log(max(prediction.score, SMALLEST))


CLASSIFIED: Mapping[str, Callable[[Prediction], float]] = {"scores": lambda each: each.score, "logits": logit}
"""The value of a class in each output that the classification extension can make texts of."""


def logits(results: Sequence[Classification | None], card: Card, _: Any) -> Any:
    """Return the logarithms of the scores of all classes, N C: the logits up to a constant of each image."""
    classes = len(card.labels)
    values = np.full((len(results), classes), np.nan, np.float32)
    for index, found in enumerate(results):
        for each in found.predictions if found else ():
            values[index, each.class_id] = logit(each)
    return values


def features(results: Sequence[Embedding | None], _: Card, __: Any) -> Any:
    """Return the pooled features, N and the channels of the last stage."""
    return filled([found.vector.tolist() if found else [] for found in results], np.nan, np.float32)


# ---------------------------------------------------------------------- segmentation


def mask_type(card: Card) -> str:
    """Return the data type of a model's masks."""
    return "UINT8" if len(card.labels) <= MAX_UINT8_CLASSES else "UINT16"


def masks(results: Sequence[Segmentation | None], card: Card, _: Any) -> Any:
    """Return the class of every pixel, N H W. Raise BadRequest for masks of different sizes."""
    size = one_size(results)
    missing = np.full(size, ignore_index(len(card.labels)))
    return np.stack([missing if found is None else found.mask for found in results])


def confidences(results: Sequence[Segmentation | None], _: Card, __: Any) -> Any:
    """Return the softmax score of every pixel, N H W, 0 to 255."""
    size = one_size(results)
    missing = np.zeros(size, np.uint8)
    return np.stack([missing if found is None or found.confidence is None else found.confidence for found in results])


def one_size(results: Sequence[Segmentation | None]) -> tuple[int, int]:
    """Return the size that all masks have. Raise BadRequest if they differ."""
    sizes = {found.size for found in results if found is not None}
    if len(sizes) > 1:
        raise BadRequest(
            f"the masks have {len(sizes)} different sizes, which fit no tensor; send images of one size, or one alone"
        )
    return sizes.pop() if sizes else (0, 0)


# ---------------------------------------------------------------------- detection


def of_detections(value: Callable[[Detection], Any], missing: Any, dtype: Any) -> Callable[[Results, Card, Any], Any]:
    """Return the function that builds an output with a value of each detection, N D."""

    def build(results: Sequence[DetectionResult | None], _: Card, __: Any) -> Any:
        return filled(
            [[value(each) for each in found.detections] if found else [] for found in results], missing, dtype
        )

    return build


def boxes(results: Sequence[DetectionResult | None], _: Card, __: Any) -> Any:
    """Return left, top, right and bottom of each detection in pixels of its image, N D 4."""
    found = [[each.box for each in result.detections] if result else [] for result in results]
    values = np.full((len(found), max(map(len, found), default=0), 4), np.nan, np.float32)
    for index, rows in enumerate(found):
        values[index, : len(rows)] = np.reshape(rows, (-1, 4))
    return values


def counts(results: Sequence[DetectionResult | None], _: Card, __: Any) -> Any:
    """Return the number of detections of each image, N."""
    return [len(found.detections) if found else 0 for found in results]


def instance_masks(results: Sequence[DetectionResult | None], _: Card, __: Any) -> Any:
    """Return the mask of each detection as COCO's compressed run lengths, N D; empty for a model without masks."""

    def runs(found: DetectionResult, each: Detection) -> str:
        mask = each.mask(found.size)
        return rle.encode_instance(mask, found.size).counts if mask is not None else ""

    rows = [[runs(found, each) for each in found.detections] if found else [] for found in results]
    return filled(rows, "", object)


OUTPUTS: Mapping[str, tuple[OutputTensor, ...]] = {
    CLASSIFY.name: (
        OutputTensor("scores", (-1, -1), always("FP32"), of_predictions(lambda each: each.score, np.nan, np.float32)),
        OutputTensor("class_ids", (-1, -1), always("INT64"), of_predictions(lambda each: each.class_id, -1, np.int64)),
        OutputTensor("labels", (-1, -1), always(BYTES), of_predictions(lambda each: each.label, "", object)),
        OutputTensor("logits", (-1, -1), always("FP32"), logits, usual=False, options={"top_k": TOP_K_LIMIT}),
    ),
    EMBED.name: (OutputTensor("features", (-1, -1), always("FP32"), features, usual=False),),
    SEGMENT.name: (
        OutputTensor("mask", (-1, -1, -1), mask_type, masks),
        OutputTensor(
            "confidence", (-1, -1, -1), always("UINT8"), confidences, usual=False, options={"confidence": True}
        ),
    ),
    DETECT.name: (
        OutputTensor("boxes", (-1, -1, 4), always("FP32"), boxes),
        OutputTensor("scores", (-1, -1), always("FP32"), of_detections(lambda each: each.score, np.nan, np.float32)),
        OutputTensor("class_ids", (-1, -1), always("INT64"), of_detections(lambda each: each.class_id, -1, np.int64)),
        OutputTensor("labels", (-1, -1), always(BYTES), of_detections(lambda each: each.label, "", object)),
        OutputTensor("count", (-1,), always("INT32"), counts),
        OutputTensor("masks", (-1, -1), always(BYTES), instance_masks, usual=False),
    ),
}
"""The outputs of each task, in the order in which a request gets them."""


def offered(card: Card) -> Mapping[str, tuple[str, OutputTensor]]:
    """Return the outputs of a model by name, each with the task that makes it."""
    return {
        output.name: (task, output)
        for task, outputs in OUTPUTS.items()
        if TASKS[task].serves(card)
        for output in outputs
    }


def errors(answers: Sequence[object]) -> Tensor:
    """Return the code and the detail of each image that failed, N; an empty text for the others."""
    found = [f"{each.code}: {each.detail}" if isinstance(each, ServiceError) else "" for each in answers]
    return texts(ERRORS, np.array(found, object))


def classification(name: str, results: Sequence[Classification | None], classes: int) -> Tensor:
    """Return the best classes in Triton's form `value:index:label`, N K, for the classification extension.

    The value is that of the output `name`. Raise BadRequest for an output without classes.
    """
    if name not in CLASSIFIED:
        raise BadRequest(f"the output {name} has no classes; take the classification of {' or '.join(CLASSIFIED)}")
    value = CLASSIFIED[name]
    rows = [
        [f"{value(each):f}:{each.class_id}:{each.label}" for each in found.predictions[:classes]] if found else []
        for found in results
    ]
    return texts(name, filled(rows, "", object))
