"""The classification network: a norm and the mean over the tokens of the last stage, then one linear layer.

Legend: B batch · N tokens · C channels · H W map · K classes
"""

from torch import Tensor, nn

from twins.network.backbone import Backbone
from twins.network.variants import Family, Variant


class Classifier(Backbone):
    """The backbone with the classification head and the parameter names of the authors' code."""

    def __init__(self, variant: Variant, family: Family, classes: int) -> None:
        super().__init__(variant, family)
        self.norm = nn.LayerNorm(variant.dims[-1], eps=family.eps)
        self.head = nn.Linear(variant.dims[-1], classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits B K. x: B 3 H W, normalised."""
        return self.head(self.pooled(x))

    def outputs(self, x: Tensor) -> dict[str, Tensor]:
        """Return the outputs of both methods by their names, for an exported network. x: B 3 H W, normalised."""
        pooled = self.pooled(x)
        return {"__call__": self.head(pooled), "pooled": pooled}

    def pooled(self, x: Tensor) -> Tensor:
        """Return the features B C that the last layer classifies. x: B 3 H W, normalised."""
        last = self.stages - 1
        tokens, _ = self.stage(last, self.maps(x, count=last)[-1])
        return self.norm(tokens).mean(dim=1)
