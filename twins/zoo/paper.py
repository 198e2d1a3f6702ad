"""The figures of the paper (arXiv 2104.13840v4) as data: parameters, FLOPs and scores of each of its networks.

Parameters are in millions, FLOPs in billions, scores in percent. None stands for a figure that the paper does not give.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from twins.card import HeadName


@dataclass(frozen=True)
class Counting:
    """What the figures of a table count besides the network that answers, or leave out."""

    classifier: bool = False  # the unused last norm and ImageNet head of the backbone count as parameters
    auxiliary: bool = False  # the auxiliary head of the training counts as parameters
    attention: bool = True  # the products of queries, keys and values count as FLOPs
    transposed_outputs: bool = False  # a transposed convolution counts at each output, four times as often as it works
    note: str = ""


AS_WRITTEN = "as the networks are"
DETECTOR = "Parameters include the unused classifier of the backbone. The image is not padded to a multiple of 32."

COUNTINGS: Mapping[str, Counting] = {
    "1": Counting(note=f"Everything counts {AS_WRITTEN}."),
    "2, FPN": Counting(
        classifier=True,
        attention=False,
        note="Parameters include the unused classifier of the backbone. FLOPs leave out the products of attention.",
    ),
    "2, UPerNet": Counting(
        classifier=True,
        auxiliary=True,
        note="Parameters include the unused classifier of the backbone and the auxiliary head of the training.",
    ),
    "3": Counting(classifier=True, note=DETECTOR),
    "4": Counting(
        classifier=True,
        transposed_outputs=True,
        note=f"{DETECTOR} There are 1000 regions for boxes and 100 for masks, and the transposed convolution counts "
        "four times.",
    ),
    "5": Counting(
        attention=False,
        note="FLOPs leave out the products of attention. The depths of these networks are not published; those of "
        "SVT-S fit best, with three blocks in the second stage of (L, LLG, LLG, G).",
    ),
    "6": Counting(note="The paper gives only the accuracy."),
}
"""By table of the paper. Its FLOPs are reproduced with these rules, which the tools of its time explain."""


@dataclass(frozen=True)
class PaperEntry:
    """One network of the paper."""

    table: str
    variant: str
    head: HeadName
    size: tuple[int, int]  # (height, width) of the image for which FLOPs are given
    parameters: float | None
    flops: float | None
    scores: Mapping[str, float] = field(default_factory=dict)
    note: str = ""  # on a figure that cannot be reproduced


IMAGENET_SIZE, ADE20K_SIZE, COCO_SIZE = (224, 224), (512, 512), (800, 600)
ORDER = ("pcpvt_small", "svt_small", "pcpvt_base", "svt_base", "pcpvt_large", "svt_large")

TOP1 = {
    "pcpvt_small": (24.1, 3.8, 81.2),
    "svt_small": (24.0, 2.9, 81.7),
    "pcpvt_base": (43.8, 6.7, 82.7),
    "svt_base": (56.0, 8.6, 83.2),
    "pcpvt_large": (60.9, 9.8, 83.1),
    "svt_large": (99.2, 15.1, 83.7),
}
FPN = {
    "pcpvt_small": (28.4, 40, 44.3),
    "svt_small": (28.3, 37, 43.2),
    "pcpvt_base": (48.1, 55, 44.9),
    "svt_base": (60.4, 67, 45.3),
    "pcpvt_large": (65.3, 71, 46.4),
    "svt_large": (103.7, 102, 46.7),
}
UPERNET = {
    "pcpvt_small": (54.6, 234, 46.2, 47.5),
    "svt_small": (54.4, 228, 46.2, 47.1),
    "pcpvt_base": (74.3, 250, 47.1, 48.4),
    "svt_base": (88.5, 261, 47.7, 48.9),
    "pcpvt_large": (91.5, 269, 48.6, 49.8),
    "svt_large": (133.0, 297, 48.8, 50.2),
}
RETINANET = {
    "pcpvt_small": (34.4, 118, 43.0, 45.2),
    "svt_small": (34.3, 104, 43.0, 45.6),
    "pcpvt_base": (54.1, 151, 44.3, 46.4),
    "svt_base": (67.0, None, 45.3, 46.9),
    "pcpvt_large": (71.2, None, 45.1, None),
    "svt_large": (110.9, None, 45.7, None),
}
MASK_RCNN = {
    "pcpvt_small": (44.3, 178, 42.9, 40.0, 46.8, 42.6),
    "svt_small": (44.0, 164, 43.4, 40.3, 46.8, 42.6),
    "pcpvt_base": (64.0, 211, 44.6, 40.9, 47.9, 43.2),
    "svt_base": (76.3, 224, 45.2, 41.5, 48.0, 43.0),
    "pcpvt_large": (81.2, None, 45.4, 41.5, None, None),
    "svt_large": (119.7, None, 45.9, 41.6, None, None),
}
INSTANCE_SCORES = ("box AP 1x", "mask AP 1x", "box AP 3x", "mask AP 3x")
RELEASED = (
    "The paper's figures are those of the released network, which also attends globally in stage 1 and locally in 4."
)
ARRANGEMENTS = {
    "svt_small_lll": (8.8, 2.2, 76.9, ""),
    "svt_small_l_llg_llg_g": (23.5, 2.8, 81.5, "With two blocks in stage 2 there would be no G; three cost 0.2 G."),
    "svt_small_l_lg_lg_g": (24.1, 2.8, 81.7, RELEASED),
    "svt_small_lllg": (22.2, 2.9, 80.5, ""),
    "pvt_small": (24.5, 3.8, 79.8, "The paper repeats PVT's own figure, which counts the products of attention."),
}
SUBSAMPLINGS = {"svt_small": 81.7, "svt_small_separable": 81.2, "svt_small_average": 81.2}


def given(names: tuple[str, ...], values: tuple[float | None, ...]) -> dict[str, float]:
    """Return the scores that the paper gives, by name."""
    return {name: value for name, value in zip(names, values, strict=True) if value is not None}


def entries() -> Iterator[PaperEntry]:
    """Yield the networks of the paper, table by table."""
    for variant in ORDER:
        parameters, flops, *scores = TOP1[variant]
        yield PaperEntry("1", variant, "linear", IMAGENET_SIZE, parameters, flops, given(("top1",), (*scores,)))
    for variant in ORDER:
        fpn_size, fpn_flops, fpn = FPN[variant]
        yield PaperEntry("2, FPN", variant, "fpn", ADE20K_SIZE, fpn_size, fpn_flops, {"mIoU": fpn})
    for variant in ORDER:
        parameters, flops, *both = UPERNET[variant]
        names = ("mIoU", "mIoU multi-scale")
        yield PaperEntry("2, UPerNet", variant, "upernet", ADE20K_SIZE, parameters, flops, given(names, (*both,)))
    for variant in ORDER:
        size, work, *boxes = RETINANET[variant]
        yield PaperEntry("3", variant, "retinanet", COCO_SIZE, size, work, given(("AP 1x", "AP 3x"), (*boxes,)))
    for variant in ORDER:
        size, work, *found = MASK_RCNN[variant]
        yield PaperEntry("4", variant, "maskrcnn", COCO_SIZE, size, work, given(INSTANCE_SCORES, (*found,)))
    for variant, (parameters, flops, top1, note) in ARRANGEMENTS.items():
        yield PaperEntry("5", variant, "linear", IMAGENET_SIZE, parameters, flops, {"top1": top1}, note)
    for variant, top1 in SUBSAMPLINGS.items():
        yield PaperEntry("6", variant, "linear", IMAGENET_SIZE, None, None, {"top1": top1})


PAPER: tuple[PaperEntry, ...] = tuple(entries())
