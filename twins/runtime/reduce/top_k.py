"""The best classes of each image, chosen on the device.

Legend: B batch · K classes
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from twins.card import TOP_K_LIMIT
from twins.tasks.sample import Sample


def reduce(logits: Tensor, _: Sequence[Sample]) -> list[tuple[Tensor, ...]]:
    """Return for each sample its best classes and their softmax scores, best first: k int32 and k float32.

    logits: B K. The sort is stable: among equal scores the lower class id comes first, whatever the number of classes
    asked for.
    """
    scores = torch.softmax(logits.float(), dim=1)
    scores, ids = scores.sort(dim=1, descending=True, stable=True)
    return list(zip(ids[:, :TOP_K_LIMIT].int(), scores[:, :TOP_K_LIMIT], strict=True))
