"""The Twins backbones as data: what all ports of a network share (`Variant`) and where they differ (`Family`).

Source: "Twins: Revisiting the Design of Spatial Attention in Vision Transformers" (arXiv 2104.13840) and its released
code. Where tables 9 and 10 of the paper disagree with the code, this module follows the code.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

PerStage = tuple[int, ...]  # one value for each stage
Kind = Literal["pcpvt", "svt"]
Subsampling = Literal["convolution", "separable", "average"]
Positions = Literal["convolution", "absolute", "none"]

LOCAL, GLOBAL = "L", "G"
STAGES = (3, 4)  # how many a backbone may have
DENSE_STAGES = 4  # that the heads of segmentation and detection need
WINDOW = 7  # the weights do not depend on it, so it cannot be read from a checkpoint
REDUCTIONS = (8, 4, 2, 1)
CHANNELS_PER_HEAD: dict[Kind, int] = {"pcpvt": 64, "svt": 32}


@dataclass(frozen=True)
class Variant:
    """One backbone. A tuple has one value per stage; the stages have strides 4, 8, 16 and 32.

    A pattern has a letter for each block, L for attention within windows and G for attention to a sub-sampled map, and
    is repeated to the depth of its stage. Values that change nothing become the usual ones, so that equal networks
    have equal variants: a pattern is as short as it can be, and a stage without G has no reduction.
    """

    dims: PerStage
    depths: PerStage
    heads: PerStage
    mlp_ratios: PerStage
    pattern: tuple[str, ...] = (GLOBAL,) * 4
    reductions: PerStage = REDUCTIONS  # sub-sampling of the keys in attention; the paper's sr ratio
    window: int = WINDOW  # side of the windows
    subsampling: Subsampling = "convolution"
    positions: Positions = "convolution"  # the paper's PEG, or PVT's learned embedding of each position of a stage
    encode_after: int = 0  # index of the block after which the PEG encodes positions; -1 for before the first one

    def __post_init__(self) -> None:
        check(self)
        letters = tuple(map(repeated, self.pattern, self.depths))
        usual = tuple(r if GLOBAL in row else 1 for r, row in zip(self.reductions, letters, strict=True))
        local, reduced = any(LOCAL in row for row in letters), max(usual) > 1
        object.__setattr__(self, "pattern", tuple(map(shortest, letters)))
        object.__setattr__(self, "reductions", usual)
        object.__setattr__(self, "window", self.window if local else WINDOW)
        object.__setattr__(self, "subsampling", self.subsampling if reduced else "convolution")
        object.__setattr__(self, "encode_after", self.encode_after if self.positions == "convolution" else 0)

    @property
    def stages(self) -> int:
        """Return the number of stages."""
        return len(self.dims)

    @property
    def kind(self) -> Kind:
        """Return the paper's name for the design: SVT has blocks that attend locally, PCPVT has none."""
        return "svt" if any(LOCAL in row for row in self.pattern) else "pcpvt"

    def letters(self, stage: int) -> str:
        """Return a letter for each block of a stage."""
        return repeated(self.pattern[stage], self.depths[stage])


def check(variant: Variant) -> None:
    """Raise ValueError for values of which no network can be built."""
    rows = (variant.dims, variant.depths, variant.heads, variant.mlp_ratios, variant.pattern, variant.reductions)
    if len(variant.dims) not in STAGES or len({len(row) for row in rows}) > 1:
        raise ValueError(f"a backbone has three or four stages, and as many values in each row, not {rows}")
    if not all(row and set(row) <= {LOCAL, GLOBAL} for row in variant.pattern):
        raise ValueError(f"a pattern consists of the letters {LOCAL} and {GLOBAL}, not {variant.pattern}")
    if min(*variant.heads, *variant.reductions, variant.window) < 1:
        raise ValueError(f"heads, reductions and window are at least 1, not {rows} and {variant.window}")
    if variant.subsampling not in get_args(Subsampling) or variant.positions not in get_args(Positions):
        raise ValueError(f"no backbone has {variant.subsampling!r} sub-sampling and {variant.positions!r} positions")
    if not -1 <= variant.encode_after < max(1, min(variant.depths)):
        raise ValueError(f"positions cannot be encoded after block {variant.encode_after} of each stage")


def repeated(pattern: str, depth: int) -> str:
    """Return the letters of `depth` blocks."""
    return (pattern * depth)[:depth]


def shortest(letters: str) -> str:
    """Return the shortest pattern that gives these letters."""
    sizes = range(1, len(letters) + 1)
    return next((letters[:size] for size in sizes if repeated(letters[:size], len(letters)) == letters), GLOBAL)


SVT_PATTERN = (LOCAL + GLOBAL,) * 4
PCPVT_DIMS, PCPVT_HEADS, PCPVT_RATIOS = (64, 128, 320, 512), (1, 2, 5, 8), (8, 8, 4, 4)
SVT_SMALL = Variant((64, 128, 256, 512), (2, 2, 10, 4), (2, 4, 8, 16), (4, 4, 4, 4), SVT_PATTERN)
SVT_NANO = Variant((32, 64, 128, 256), (2, 2, 4, 2), (1, 2, 4, 8), (4, 4, 4, 4), SVT_PATTERN)

PUBLISHED: dict[str, Variant] = {
    "pcpvt_small": Variant(PCPVT_DIMS, (3, 4, 6, 3), PCPVT_HEADS, PCPVT_RATIOS),
    "pcpvt_base": Variant(PCPVT_DIMS, (3, 4, 18, 3), PCPVT_HEADS, PCPVT_RATIOS),
    "pcpvt_large": Variant(PCPVT_DIMS, (3, 8, 27, 3), PCPVT_HEADS, PCPVT_RATIOS),
    "svt_small": SVT_SMALL,
    "svt_base": Variant((96, 192, 384, 768), (2, 2, 18, 2), (3, 6, 12, 24), (4, 4, 4, 4), SVT_PATTERN),
    "svt_large": Variant((128, 256, 512, 1024), (2, 2, 18, 2), (4, 8, 16, 32), (4, 4, 4, 4), SVT_PATTERN),
}


def first_stages(variant: Variant, count: int) -> Variant:
    """Return a backbone without the last stages of another one."""
    rows: dict[str, Any] = {
        name: getattr(variant, name)[:count]
        for name in ("dims", "depths", "heads", "mlp_ratios", "pattern", "reductions")
    }
    return replace(variant, **rows)


def ablations(size: str, svt: Variant, pvt: Variant) -> Mapping[str, Variant]:
    """Return the rows of the paper's tables 5 and 6 for networks of one size."""
    first, _, *others = svt.depths
    return {
        f"svt_{size}_lll": first_stages(replace(svt, pattern=("L", "L", "L", "G")), 3),
        # (L, LLG, LLG, G) needs three blocks in its second stage
        f"svt_{size}_l_llg_llg_g": replace(svt, pattern=("L", "LLG", "LLG", "G"), depths=(first, 3, *others)),
        f"svt_{size}_l_lg_lg_g": replace(svt, pattern=("L", "LG", "LG", "G")),
        f"svt_{size}_lllg": replace(svt, pattern=("L", "L", "L", "G")),
        f"pvt_{size}": replace(pvt, positions="absolute"),
        f"svt_{size}_separable": replace(svt, subsampling="separable"),
        f"svt_{size}_average": replace(svt, subsampling="average"),
    }


VARIANTS: dict[str, Variant] = {
    **PUBLISHED,
    "svt_nano": SVT_NANO,
    **ablations("small", SVT_SMALL, PUBLISHED["pcpvt_small"]),
    **ablations("nano", SVT_NANO, Variant((32, 64, 128, 256), (2, 2, 4, 2), (1, 1, 2, 4), (4, 4, 4, 4))),
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
