"""The networks of the paper in their published sizes, without values, and how each runs when its cost is counted."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from twins.card import HeadName
from twins.network.backbone import Backbone
from twins.network.heads.classify import Classifier
from twins.network.heads.fpn import FpnHead, Pyramid
from twins.network.heads.mask_rcnn import BOX_SIDE, MASK_SIDE, BoxHead, MaskHead, MaskRcnn, RoiHead, RpnHead, RpnPyramid
from twins.network.heads.retinanet import RetinaHead, RetinaNet, RetinaPyramid
from twins.network.heads.segment import Segmenter
from twins.network.heads.upernet import UperHead
from twins.network.variants import Family, Variant

IMAGENET, ADE20K, COCO = 1000, 150, 80  # classes
PYRAMID, HIDDEN = 256, 1024  # channels of the pyramids, and of the linear layers for regions
BOX_REGIONS, MASK_REGIONS = 1000, 100  # regions of an image with which mmdetection counts


def classifier(variant: Variant, classes: int = IMAGENET) -> Classifier:
    """Return a classifier on the meta device, in eval mode."""
    with torch.device("meta"):
        return Classifier(variant, Family(), classes).eval()


def segmenter(variant: Variant, head: HeadName, classes: int = ADE20K) -> Segmenter:
    """Return a segmentation network on the meta device, in eval mode."""
    with torch.device("meta"):
        backbone = Backbone(variant, Family(stage_norms=variant.kind == "svt"))
        if head == "fpn":
            return Segmenter(backbone, Pyramid(variant.dims, PYRAMID), FpnHead(PYRAMID, 128, classes)).eval()
        return Segmenter(backbone, nn.Identity(), UperHead(variant.dims, 512, classes)).eval()


def retinanet(variant: Variant, classes: int = COCO, width: int = PYRAMID) -> RetinaNet:
    """Return RetinaNet on the meta device, in eval mode."""
    family = Family(stage_norms=variant.kind == "svt")
    with torch.device("meta"):
        neck = RetinaPyramid(variant.dims, width, relu=False)
        return RetinaNet(Backbone(variant, family), neck, RetinaHead(width, classes), family).eval()


def mask_rcnn(variant: Variant, classes: int = COCO, width: int = PYRAMID, hidden: int = HIDDEN) -> MaskRcnn:
    """Return Mask R-CNN on the meta device, in eval mode."""
    with torch.device("meta"):
        backbone = Backbone(variant, Family(stage_norms=variant.kind == "svt"))
        heads = RoiHead(BoxHead(width, hidden, classes), MaskHead(width, classes))
        return MaskRcnn(backbone, RpnPyramid(variant.dims, width), RpnHead(width), heads).eval()


def run_retinanet(network: RetinaNet, x: Tensor) -> None:
    """Run backbone, pyramid and head on images that are not padded, as mmdetection does to count."""
    for level in network.neck(network.backbone.maps(x)):
        network.bbox_head(level)


def run_mask_rcnn(network: MaskRcnn, x: Tensor) -> None:
    """Run the first stage on images that are not padded, and the second one on a usual number of regions."""
    for level in network.neck(network.backbone.maps(x)):
        network.rpn_head(level)
    network.roi_head.bbox_head(x.new_zeros(BOX_REGIONS, PYRAMID, BOX_SIDE, BOX_SIDE))
    network.roi_head.mask_head(x.new_zeros(MASK_REGIONS, PYRAMID, MASK_SIDE, MASK_SIDE))


BUILDERS: dict[HeadName, tuple[Callable[[Variant], nn.Module], Callable[..., object]]] = {
    "linear": (classifier, nn.Module.__call__),
    "fpn": (lambda variant: segmenter(variant, "fpn"), nn.Module.__call__),
    "upernet": (lambda variant: segmenter(variant, "upernet"), nn.Module.__call__),
    "retinanet": (retinanet, run_retinanet),
    "maskrcnn": (mask_rcnn, run_mask_rcnn),
}
"""By head: how a network is built, and how it runs on an image, 1 3 H W, when its cost is counted."""
