"""The features of each image, as they are.

Legend: B batch · C channels
"""

from collections.abc import Sequence

from torch import Tensor

from twins.tasks.sample import Sample


def reduce(features: Tensor, _: Sequence[Sample]) -> list[tuple[Tensor, ...]]:
    """Return for each sample its features, C float32. features: B C."""
    return [(each,) for each in features.float()]
