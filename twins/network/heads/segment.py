"""The segmentation network: trunk, neck, head. Its parameter names are mmsegmentation's, the trunk's the authors'.

Legend: B batch · K classes · H W image
"""

from torch import Tensor, nn

from twins.network.backbone import Trunk
from twins.network.heads.conv import fold


class Segmenter(nn.Module):
    """A trunk and what makes one map of logits of its four maps."""

    def __init__(self, backbone: Trunk, neck: nn.Module, decode_head: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone
        self.neck = neck
        self.decode_head = decode_head

    def forward(self, x: Tensor) -> Tensor:
        """x: B 3 H W, normalised; logits B K H/4 W/4, rounded as the trunk's family does."""
        return self.decode_head(self.neck(self.backbone.maps(x)))

    def fold(self) -> None:
        """Puts the batch norms into their convolutions; the parameters' names change, the function does not."""
        fold(self)
