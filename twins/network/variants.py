"""The Twins backbones, as data: what is the same in every port of a network, and what is not.

Source: "Twins: Revisiting the Design of Spatial Attention in Vision Transformers" (arXiv 2104.13840) and its released
code, which decides wherever the paper's tables 9 and 10 disagree with it.
"""

from dataclasses import dataclass
from typing import Literal, get_args

Four = tuple[int, int, int, int]


@dataclass(frozen=True)
class Variant:
    """One backbone. Four values each: one per stage, at strides 4, 8, 16, 32."""

    dims: Four
    depths: Four
    heads: Four
    mlp_ratios: Four
    reductions: Four = (8, 4, 2, 1)  # of the keys in sub-sampled attention; the paper's sr ratio
    window: int | None = None  # None: every block attends globally (PCPVT); 7: local and global alternate (SVT)

    @property
    def kind(self) -> "Kind":
        """The paper's name of the design."""
        return "pcpvt" if self.window is None else "svt"


Kind = Literal["pcpvt", "svt"]

WINDOW = 7  # leaves no trace in the weights: fixed by convention
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


@dataclass(frozen=True)
class Family:
    """How the code base a checkpoint was trained in behaves where the ports differ."""

    edge: Edge = "padded"  # windows over the map's edge: do padding tokens take part?
    rounding: Rounding = "floor"  # of the map's size in the patch embeddings
    eps: float = 1e-6  # of the blocks' norms and the last one
    patch_eps: float = 1e-5  # of the patch embeddings' norms
    reduction_eps: float = 1e-5  # of the norm behind the sub-sampling convolution
    stage_norms: bool = False  # a norm after each stage, in the trunk: dense SVT

    def __post_init__(self) -> None:
        if self.edge not in get_args(Edge) or self.rounding not in get_args(Rounding):
            raise ValueError(f"no family of networks behaves like {self.edge!r}, {self.rounding!r}")
        if min(self.eps, self.patch_eps, self.reduction_eps) <= 0:
            raise ValueError("a norm's epsilon is greater than 0")
