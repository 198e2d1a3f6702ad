"""The classification network: a norm and the mean over the tokens of the last stage, then one linear layer.

Legend: B batch · N tokens · C channels · H W map · K classes
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from twins.card import TOP_K_LIMIT
from twins.network.backbone import Trunk
from twins.network.variants import Family, Variant
from twins.tasks.sample import Sample


class Classifier(Trunk):
    """The trunk with the classification head and the parameter names of the authors' code."""

    def __init__(self, variant: Variant, family: Family, classes: int) -> None:
        super().__init__(variant, family)
        self.norm = nn.LayerNorm(variant.dims[3], eps=family.eps)
        self.head = nn.Linear(variant.dims[3], classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits B K. x: B 3 H W, normalised."""
        return self.head(self.pooled(x))

    def pooled(self, x: Tensor) -> Tensor:
        """Return the features B C that the last layer classifies. x: B 3 H W, normalised."""
        *_, third = self.maps(x, count=3)
        tokens, _ = self.stage(3, third)
        return self.norm(tokens).mean(dim=1)


def reduce(logits: Tensor, _: Sequence[Sample]) -> list[tuple[Tensor, ...]]:
    """logits: B K. For each sample its best classes and their softmax scores, best first: k int32 and k float32.

    A stable sort: among equal scores the lower class id comes first, whatever the number of classes asked for. The
    batch leaves the device as a whole: one transfer costs less than one for each sample.
    """
    scores = torch.softmax(logits.float(), dim=1)
    scores, ids = scores.sort(dim=1, descending=True, stable=True)
    return list(zip(ids[:, :TOP_K_LIMIT].int().cpu(), scores[:, :TOP_K_LIMIT].cpu(), strict=True))
