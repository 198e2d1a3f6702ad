"""The classification network: the last stage's tokens, normalised, averaged, and one linear layer.

Legend: B batch · N tokens · C channels · H W map · K classes
"""

import torch
from torch import Tensor, nn

from twins.backbone import Trunk
from twins.card import TOP_K_LIMIT
from twins.variants import Family, Variant


class Classifier(Trunk):
    """The trunk with the authors' classification head, under the authors' parameter names."""

    def __init__(self, variant: Variant, family: Family, classes: int) -> None:
        super().__init__(variant, family)
        self.norm = nn.LayerNorm(variant.dims[3], eps=family.eps)
        self.head = nn.Linear(variant.dims[3], classes)

    def forward(self, x: Tensor) -> Tensor:
        """x: B 3 H W, normalised; logits B K."""
        *_, third = self.maps(x, count=3)
        tokens, _ = self.stage(3, third)
        return self.head(self.norm(tokens).mean(dim=1))


def reduce(logits: Tensor) -> tuple[Tensor, Tensor]:
    """logits: B K. The best classes and their softmax scores, best first: B k int32 and B k float32.

    A stable sort: among equal scores the lower class id comes first, whatever the number of classes asked for.
    """
    scores = torch.softmax(logits.float(), dim=1)
    scores, ids = scores.sort(dim=1, descending=True, stable=True)
    return ids[:, :TOP_K_LIMIT].int(), scores[:, :TOP_K_LIMIT]
