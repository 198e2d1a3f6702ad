"""The keys and shapes of checkpoints in other formats, built from a network of this project."""

import re

import torch

from twins.network.heads.segment import Segmenter
from twins.network.published import mask_rcnn, retinanet, segmenter
from twins.network.variants import VARIANTS, Variant

State = dict[str, torch.Tensor]

CLASSES, IMAGENET, COCO = 150, 1000, 80
MMSEG = (
    (r"backbone\.patch_embeds\.(\d)\.proj\.", r"backbone.patch_embeds.\1.projection."),
    (r"backbone\.pos_block\.(\d)\.proj\.0\.", r"backbone.position_encodings.\1.proj."),
    (r"backbone\.blocks\.(\d\.\d+)\.mlp\.fc1\.", r"backbone.layers.\1.ffn.layers.0.0."),
    (r"backbone\.blocks\.(\d\.\d+)\.mlp\.fc2\.", r"backbone.layers.\1.ffn.layers.1."),
    (r"backbone\.blocks\.(\d\.\d+)\.", r"backbone.layers.\1."),
)


def network(variant: str, head: str) -> Segmenter:
    """Return a published network without values."""
    return segmenter(VARIANTS[variant], head)


def shapes(variant: str, head: str) -> dict[str, tuple[int, ...]]:
    """Return the parameters of a published network under the names of this project."""
    return {key: tuple(value.shape) for key, value in network(variant, head).state_dict().items()}


def training_only(variant: str, keys: dict[str, tuple[int, ...]], head: str) -> dict[str, tuple[int, ...]]:
    """Return the parameters that only the trainer of mmsegmentation uses: counters and the auxiliary head."""
    channels = VARIANTS[variant].dims[2]
    norm = dict.fromkeys(("weight", "bias", "running_mean", "running_var"), (256,))
    auxiliary = {
        "conv_seg.weight": (CLASSES, 256, 1, 1),
        "conv_seg.bias": (CLASSES,),
        "convs.0.conv.weight": (256, channels, 3, 3),
        **{f"convs.0.bn.{key}": shape for key, shape in norm.items()},
        "convs.0.bn.num_batches_tracked": (),
    }
    counters = {key.replace("running_mean", "num_batches_tracked"): () for key in keys if "running_mean" in key}
    return counters | ({f"auxiliary_head.{key}": s for key, s in auxiliary.items()} if head == "upernet" else {})


def authors(variant: str, head: str) -> dict[str, tuple[int, ...]]:
    """Return keys and shapes of a segmentation checkpoint of the authors."""
    keys, width = shapes(variant, head), VARIANTS[variant].dims[3]
    left = {f"backbone.{key}": shape for key, shape in unused(width).items()}
    return keys | training_only(variant, keys, head) | left


def mmseg(variant: str, head: str) -> dict[str, tuple[int, ...]]:
    """Return keys and shapes of a checkpoint in the zoo of mmsegmentation."""
    own = shapes(variant, head)
    keys = {mmseg_name(key, own): shape for key, shape in own.items() if not re.search(r"attn\.q\.", key)}
    joined = {key: (shape[0] * 3 // 2, *shape[1:]) if "in_proj" in key else shape for key, shape in keys.items()}
    return joined | training_only(variant, own, head)


def mmseg_name(key: str, own: dict[str, tuple[int, ...]]) -> str:
    """Return the name of a parameter in mmsegmentation, where one key contains queries, keys and values."""
    key = re.sub(r"(attn)\.kv\.(\w+)", r"\1.attn.in_proj_\2", key)
    if re.sub(r"attn\.proj\.", "attn.q.", key) in own:
        key = key.replace("attn.proj.", "attn.attn.out_proj.")
    for pattern, target in MMSEG:
        key = re.sub(pattern, target, key)
    return key


def detector(
    variant: Variant, head: str, *, classes: int = COCO, width: int = 256, hidden: int = 1024
) -> torch.nn.Module:
    """Return a detector without values; the published ones have these sizes."""
    if head == "retinanet":
        return retinanet(variant, classes, width)
    return mask_rcnn(variant, classes, width, hidden)


def mmdet(variant: str, head: str) -> dict[str, tuple[int, ...]]:
    """Return keys and shapes of a detection checkpoint of mmdetection with the authors' backbone."""
    network, width = detector(VARIANTS[variant], head), VARIANTS[variant].dims[3]
    own = {key: tuple(value.shape) for key, value in network.state_dict().items()}
    return own | {f"backbone.{key}": shape for key, shape in unused(width).items()}


DETECTRON2 = {
    **{f"neck.lateral_convs.{i}.conv": f"backbone.fpn_lateral{i + 3}" for i in range(3)},
    **{f"neck.fpn_convs.{i}.conv": f"backbone.fpn_output{i + 3}" for i in range(3)},
    **{f"neck.fpn_convs.{i}.conv": f"backbone.top_block.p{i + 3}" for i in (3, 4)},
    **{f"bbox_head.cls_convs.{i}.conv": f"head.cls_subnet.{2 * i}" for i in range(4)},
    **{f"bbox_head.reg_convs.{i}.conv": f"head.bbox_subnet.{2 * i}" for i in range(4)},
    "bbox_head.retina_cls": "head.cls_score",
    "bbox_head.retina_reg": "head.bbox_pred",
}
"""The names of the layers in pvt_detectron2."""


def detectron2(variant: str) -> dict[str, tuple[int, ...]]:
    """Return keys and shapes of a checkpoint of pvt_detectron2, whose backbone has no norms after the stages."""
    row = VARIANTS[variant]
    keys = {key: tuple(value.shape) for key, value in detector(row, "retinanet").state_dict().items()}
    renamed = {detectron2_name(key): shape for key, shape in keys.items() if "norm_list" not in key}
    backbone = {f"backbone.bottom_up.{key}": shape for key, shape in unused(row.dims[3]).items()}
    anchors = {f"anchor_generator.cell_anchors.{level}": (9, 4) for level in range(5)}
    return renamed | backbone | anchors | {"pixel_mean": (3, 1, 1), "pixel_std": (3, 1, 1)}


def detectron2_name(key: str) -> str:
    """Return the name of a parameter in pvt_detectron2."""
    layer, _, parameter = key.rpartition(".")
    if layer in DETECTRON2:
        return f"{DETECTRON2[layer]}.{parameter}"
    return key.replace("backbone.", "backbone.bottom_up.", 1)


def unused(width: int) -> dict[str, tuple[int, ...]]:
    """Return the parameters that the authors' backbone has left from its classifier."""
    return {"norm.weight": (width,), "norm.bias": (width,), "head.weight": (IMAGENET, width), "head.bias": (IMAGENET,)}


def cheap_state(keys: dict[str, tuple[int, ...]]) -> State:
    """Return random values that share one storage, so that the file is as small as the largest parameter."""
    generator = torch.Generator().manual_seed(0)
    largest = max(torch.Size(shape).numel() for shape in keys.values())
    noise = torch.rand(largest, generator=generator) * 0.04 - 0.02
    ones = torch.ones(4096)

    def value(key: str, shape: tuple[int, ...]) -> torch.Tensor:
        if not shape:
            return torch.tensor(0)
        scale = key.endswith("running_var") or (len(shape) == 1 and key.endswith("weight"))
        return (ones if scale else noise)[: torch.Size(shape).numel()].view(shape)

    return {key: value(key, shape) for key, shape in keys.items()}
