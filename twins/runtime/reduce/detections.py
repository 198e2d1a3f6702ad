"""The detections of each image, chosen on the device.

Legend: N detections
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from twins.network.detections import Detections, Predictions, Selection
from twins.tasks.detect import DetectParams
from twins.tasks.sample import Sample


def reduce(predictions: Predictions, samples: Sequence[Sample]) -> list[tuple[Tensor, ...]]:
    """Return for each sample the size of its image, boxes N 4, scores N, classes N and, if it has any, masks N 28 28.

    Only what is chosen leaves the device: at most as many rows as the parameters ask for.
    """
    selections = [selection(sample) for sample in samples]
    found = predictions.detections(selections)
    return [arrays(each, sample) for each, sample in zip(found, samples, strict=True)]


def selection(sample: Sample) -> Selection:
    """Return what a sample asks for."""
    params = sample.params
    assert isinstance(params, DetectParams)
    height, width = sample.input_size
    original_height, original_width = params.size or sample.input_size
    return Selection(
        size=(height, width),
        scale=(width / original_width, height / original_height),
        threshold=params.threshold,
        overlap=params.overlap,
        limit=params.limit,
        classes=params.classes,
        masks=params.masks,
    )


def arrays(found: Detections, sample: Sample) -> tuple[Tensor, ...]:
    """Return the arrays of one sample."""
    params = sample.params
    assert isinstance(params, DetectParams)
    size = torch.tensor(params.size or sample.input_size, dtype=torch.int32, device=found.boxes.device)
    masks = () if found.masks is None else (found.masks,)
    return size, found.boxes, found.scores, found.classes.int(), *masks
