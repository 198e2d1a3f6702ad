"""The best classes of each image, chosen on the device.

Legend: B batch · K classes
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from twins.tasks.classify import most_classes
from twins.tasks.sample import Sample


def reduce(logits: Tensor, samples: Sequence[Sample]) -> list[tuple[Tensor, ...]]:
    """Return for each sample its best classes and their softmax scores, best first: k int32 and k float32.

    logits: B K. The sort is stable: among equal scores the lower class id comes first, whatever the number of classes
    asked for. The whole batch is cut at once, where the sample that needs most classes has enough.
    """
    count = most_classes(samples)
    scores = torch.softmax(logits.float(), dim=1)
    scores, ids = scores.sort(dim=1, descending=True, stable=True)
    return list(zip(ids[:, :count].int(), scores[:, :count], strict=True))
