"""The segmentation network: a backbone, a neck and a head.

The backbone has the parameter names of the authors' code, the rest those of mmsegmentation.

Legend: B batch · K classes · H W image
"""

from torch import Tensor, nn

from twins.network.backbone import Backbone
from twins.network.heads.conv import fold


class Segmenter(nn.Module):
    """A backbone, and a neck and a head that turn its four maps into one map of logits."""

    def __init__(self, backbone: Backbone, neck: nn.Module, decode_head: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone
        self.neck = neck
        self.decode_head = decode_head

    def forward(self, x: Tensor) -> Tensor:
        """Return logits B K H/4 W/4, rounded as the family of the backbone rounds. x: B 3 H W, normalised."""
        return self.decode_head(self.neck(self.backbone.maps(x)))

    def outputs(self, x: Tensor) -> dict[str, Tensor]:
        """Return the output by the name of its method, for an exported network. x: B 3 H W, normalised."""
        return {"__call__": self(x)}

    def fold(self) -> None:
        """Fold the batch norms into their convolutions. The parameter names change; the results do not."""
        fold(self)
