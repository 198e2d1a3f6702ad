"""The segmentation network: a trunk, a neck and a head.

The trunk has the parameter names of the authors' code, the rest those of mmsegmentation.

Legend: B batch · K classes · H W image
"""

from torch import Tensor, nn

from twins.network.backbone import Trunk
from twins.network.heads.conv import fold


class Segmenter(nn.Module):
    """A trunk, and a neck and a head that turn its four maps into one map of logits."""

    def __init__(self, backbone: Trunk, neck: nn.Module, decode_head: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone
        self.neck = neck
        self.decode_head = decode_head

    def forward(self, x: Tensor) -> Tensor:
        """Return logits B K H/4 W/4, rounded as the family of the trunk rounds. x: B 3 H W, normalised."""
        return self.decode_head(self.neck(self.backbone.maps(x)))

    def fold(self) -> None:
        """Fold the batch norms into their convolutions. The parameter names change; the results do not."""
        fold(self)
