"""The Twins backbones as data: what all ports of a network share (`Variant`) and where they differ (`Family`).

Source: "Twins: Revisiting the Design of Spatial Attention in Vision Transformers" (arXiv 2104.13840) and its released
code. Where tables 9 and 10 of the paper disagree with the code, this module follows the code.
"""

from dataclasses import dataclass
from typing import Literal, get_args

Four = tuple[int, int, int, int]


@dataclass(frozen=True)
class Variant:
    """One backbone. A tuple has one value per stage; the stages have strides 4, 8, 16 and 32."""

    dims: Four
    depths: Four
    heads: Four
    mlp_ratios: Four
    reductions: Four = (8, 4, 2, 1)  # sub-sampling of the keys in attention; the paper's sr ratio
    window: int | None = None  # None: all blocks attend globally (PCPVT); 7: local and global blocks alternate (SVT)

    @property
    def kind(self) -> "Kind":
        """Return the paper's name for the design."""
        return "pcpvt" if self.window is None else "svt"


Kind = Literal["pcpvt", "svt"]

WINDOW = 7  # the weights do not depend on it, so it cannot be read from a checkpoint
CHANNELS_PER_HEAD: dict[Kind, int] = {"pcpvt": 64, "svt": 32}

PCPVT_DIMS, PCPVT_HEADS, PCPVT_RATIOS = (64, 128, 320, 512), (1, 2, 5, 8), (8, 8, 4, 4)

VARIANTS: dict[str, Variant] = {
    "pcpvt_small": Variant(PCPVT_DIMS, (3, 4, 6, 3), PCPVT_HEADS, PCPVT_RATIOS),
    "pcpvt_base": Variant(PCPVT_DIMS, (3, 4, 18, 3), PCPVT_HEADS, PCPVT_RATIOS),
    "pcpvt_large": Variant(PCPVT_DIMS, (3, 8, 27, 3), PCPVT_HEADS, PCPVT_RATIOS),
    "svt_small": Variant((64, 128, 256, 512), (2, 2, 10, 4), (2, 4, 8, 16), (4, 4, 4, 4), window=WINDOW),
    "svt_base": Variant((96, 192, 384, 768), (2, 2, 18, 2), (3, 6, 12, 24), (4, 4, 4, 4), window=WINDOW),
    "svt_large": Variant((128, 256, 512, 1024), (2, 2, 18, 2), (4, 8, 16, 32), (4, 4, 4, 4), window=WINDOW),
    "svt_nano": Variant((32, 64, 128, 256), (2, 2, 4, 2), (1, 2, 4, 8), (4, 4, 4, 4), window=WINDOW),
}


Edge = Literal["padded", "masked"]
Rounding = Literal["floor", "ceil"]
AnchorOrder = Literal["ratio", "size"]


@dataclass(frozen=True)
class Family:
    """The behaviour of the code base in which a checkpoint was trained, where the ports differ."""

    edge: Edge = "padded"  # whether padding tokens take part in windows across the edge of the map
    rounding: Rounding = "floor"  # rounding of the map size in the patch embeddings
    eps: float = 1e-6  # of the norms in the blocks and of the last norm
    patch_eps: float = 1e-5  # of the norms in the patch embeddings
    reduction_eps: float = 1e-5  # of the norm after the sub-sampling convolution
    stage_norms: bool = False  # whether the backbone has a norm after each stage (SVT for dense prediction)
    anchors: AnchorOrder = "ratio"  # which index of RetinaNet's anchors changes more slowly
    relu_before_p7: bool = False  # whether RetinaNet's coarsest map is convolved from a rectified one

    def __post_init__(self) -> None:
        if self.edge not in get_args(Edge) or self.rounding not in get_args(Rounding):
            raise ValueError(f"no family of networks has edge={self.edge!r} and rounding={self.rounding!r}")
        if self.anchors not in get_args(AnchorOrder):
            raise ValueError(f"no family of networks has anchors={self.anchors!r}")
        if min(self.eps, self.patch_eps, self.reduction_eps) <= 0:
            raise ValueError("the epsilon of a norm must be greater than 0")
