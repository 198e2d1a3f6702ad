"""The checkpoint formats of other projects as data: how to recognise each, and how to rename its keys.

The names in this project are those of the authors and timm. A file is rejected unless every key matches exactly one
rule.
"""

import re
from dataclasses import dataclass

from twins.network.variants import Family, Kind

DROP = ""  # the target of a key that is not needed
NOTHING = r"(?!)"  # a pattern that no key matches

PREFIXES = ("module.", "model.", "timm_model.", "backbone.")
"""Prefixes of wrappers (data parallel, Lightning, transformers' TimmWrapper), removed while every key has one."""

CONTAINERS = ("state_dict_ema", "model_ema", "state_dict", "model")
"""The containers of training scripts, best first: published figures are those of the moving average."""


@dataclass(frozen=True)
class Rule:
    """Rename keys that match `pattern` completely to `target`, a template for `re.Match.expand`.

    Several targets share the rows of the tensor in the proportions `parts`.
    """

    pattern: str
    target: str | tuple[str, ...]
    parts: tuple[int, ...] = (1,)

    @property
    def targets(self) -> tuple[str, ...]:
        """Return the templates, one for each part."""
        return (self.target,) if isinstance(self.target, str) else self.target


@dataclass(frozen=True)
class Format:
    """The parameter names of one project, and the behaviour of its networks."""

    name: str
    recognised_by: tuple[str, ...]  # patterns; each matches a key of this format
    rules: tuple[Rule, ...]
    families: dict[Kind, Family]
    crop: float = 1.0  # fraction of the short side that its evaluation of classifiers keeps
    excluded_by: str = NOTHING  # a pattern that matches no key of this format, so that only one format fits a file


W = r"(weight|bias)"
BACKBONE = r"(?:backbone\.)?"  # a wrapper may have prefixed the backbone but not the head

DENSE = r"(?:decode_head|neck|bbox_head|rpn_head|roi_head)\..*"  # keys that only dense networks have
SEGMENTATION = r"decode_head\..*"
DETECTION = r"(?:bbox_head|rpn_head)\..*"

TIMM = Format(
    name="timm / authors",
    recognised_by=(r"(backbone\.)?blocks\.0\.0\.norm1\.weight",),
    excluded_by=DENSE,
    rules=(
        Rule(BACKBONE + rf"(patch_embeds\.\d\.(?:proj|norm)\.{W})", r"\1"),
        Rule(BACKBONE + rf"(pos_block\.\d\.proj\.0\.{W})", r"\1"),
        Rule(BACKBONE + r"(pos_embeds\.\d\.weight)", r"\1"),
        Rule(BACKBONE + rf"(blocks\.\d\.\d+\.(?:norm1|norm2)\.{W})", r"\1"),
        Rule(BACKBONE + rf"(blocks\.\d\.\d+\.attn\.(?:q|kv|qkv|proj|sr|sr\.[01]|norm)\.{W})", r"\1"),
        Rule(BACKBONE + rf"(blocks\.\d\.\d+\.mlp\.(?:fc1|fc2)\.{W})", r"\1"),
        Rule(BACKBONE + rf"(norm\.{W})", r"\1"),
        Rule(rf"(head\.{W})", r"\1"),
    ),
    families={"pcpvt": Family(), "svt": Family()},
    crop=0.9,
)

MMPRETRAIN = Format(
    name="mmpretrain",
    recognised_by=(r"(backbone\.)?stages\.0\.0\.norm1\.weight",),
    excluded_by=DENSE,
    rules=(
        Rule(BACKBONE + rf"patch_embeds\.(\d)\.projection\.{W}", r"patch_embeds.\1.proj.\2"),
        Rule(BACKBONE + rf"patch_embeds\.(\d)\.norm\.{W}", r"patch_embeds.\1.norm.\2"),
        Rule(BACKBONE + rf"position_encodings\.(\d)\.proj\.{W}", r"pos_block.\1.proj.0.\2"),
        Rule(BACKBONE + rf"stages\.(\d)\.(\d+)\.(norm1|norm2)\.{W}", r"blocks.\1.\2.\3.\4"),
        Rule(BACKBONE + rf"stages\.(\d)\.(\d+)\.attn\.(q|kv|qkv|proj|sr|norm)\.{W}", r"blocks.\1.\2.attn.\3.\4"),
        Rule(BACKBONE + rf"stages\.(\d)\.(\d+)\.ffn\.layers\.0\.0\.{W}", r"blocks.\1.\2.mlp.fc1.\3"),
        Rule(BACKBONE + rf"stages\.(\d)\.(\d+)\.ffn\.layers\.1\.{W}", r"blocks.\1.\2.mlp.fc2.\3"),
        Rule(BACKBONE + rf"norm_after_stage3\.{W}", r"norm.\1"),
        Rule(rf"head\.fc\.{W}", r"head.\1"),
    ),
    families={
        "pcpvt": Family(edge="masked", rounding="ceil", eps=1e-6, patch_eps=1e-5, reduction_eps=1e-6),
        "svt": Family(edge="masked", rounding="ceil", eps=1e-5, patch_eps=1e-5, reduction_eps=1e-5),
    },
    crop=0.875,
)

DENSE_HEAD = (
    Rule(rf"(neck\.(?:lateral_convs|fpn_convs)\.\d\.conv\.{W})", r"\1"),
    Rule(rf"(decode_head\.conv_seg\.{W})", r"\1"),
    Rule(r"(decode_head\.(?!conv_seg\.)[\w.]+\.(?:conv\.weight|bn\.(?:weight|bias|running_mean|running_var)))", r"\1"),
    Rule(r"decode_head\.[\w.]+\.bn\.num_batches_tracked", DROP),
    Rule(r"auxiliary_head\..*", DROP),  # only used in training
)
"""The names of necks and heads in mmsegmentation, which this project uses as well."""

AUTHORS_BACKBONE = (
    Rule(rf"(backbone\.patch_embeds\.\d\.(?:proj|norm)\.{W})", r"\1"),
    Rule(rf"(backbone\.pos_block\.\d\.proj\.0\.{W})", r"\1"),
    Rule(r"(backbone\.pos_embeds\.\d\.weight)", r"\1"),
    Rule(rf"(backbone\.blocks\.\d\.\d+\.(?:norm1|norm2)\.{W})", r"\1"),
    Rule(rf"(backbone\.blocks\.\d\.\d+\.attn\.(?:q|kv|qkv|proj|sr|sr\.[01]|norm)\.{W})", r"\1"),
    Rule(rf"(backbone\.blocks\.\d\.\d+\.mlp\.(?:fc1|fc2)\.{W})", r"\1"),
    Rule(rf"(backbone\.norm_list\.\d\.{W})", r"\1"),
    Rule(rf"backbone\.(?:norm|head)\.{W}", DROP),  # left over from the classifier that the backbone was trained as
)
"""The names of the authors' backbone in dense networks, which this project uses as well."""

AUTHORS_SEG = Format(
    name="authors' segmentation",
    recognised_by=(r"backbone\.blocks\.0\.0\.norm1\.weight", SEGMENTATION),
    rules=(*AUTHORS_BACKBONE, *DENSE_HEAD),
    families={
        "pcpvt": Family(edge="masked"),
        "svt": Family(edge="masked", stage_norms=True),
    },
)
"""This project writes this format, since its own names are these."""

MMSEG = Format(
    name="mmsegmentation",
    recognised_by=(r"(backbone\.)?layers\.0\.0\.norm1\.weight",),
    rules=(
        Rule(BACKBONE + rf"patch_embeds\.(\d)\.projection\.{W}", r"backbone.patch_embeds.\1.proj.\2"),
        Rule(BACKBONE + rf"patch_embeds\.(\d)\.norm\.{W}", r"backbone.patch_embeds.\1.norm.\2"),
        Rule(BACKBONE + rf"position_encodings\.(\d)\.proj\.{W}", r"backbone.pos_block.\1.proj.0.\2"),
        Rule(BACKBONE + rf"layers\.(\d)\.(\d+)\.(norm1|norm2)\.{W}", r"backbone.blocks.\1.\2.\3.\4"),
        Rule(
            BACKBONE + rf"layers\.(\d)\.(\d+)\.attn\.attn\.in_proj_{W}",
            (r"backbone.blocks.\1.\2.attn.q.\3", r"backbone.blocks.\1.\2.attn.kv.\3"),
            parts=(1, 2),
        ),
        Rule(BACKBONE + rf"layers\.(\d)\.(\d+)\.attn\.attn\.out_proj\.{W}", r"backbone.blocks.\1.\2.attn.proj.\3"),
        Rule(BACKBONE + rf"layers\.(\d)\.(\d+)\.attn\.(qkv|proj|sr|norm)\.{W}", r"backbone.blocks.\1.\2.attn.\3.\4"),
        Rule(BACKBONE + rf"layers\.(\d)\.(\d+)\.ffn\.layers\.0\.0\.{W}", r"backbone.blocks.\1.\2.mlp.fc1.\3"),
        Rule(BACKBONE + rf"layers\.(\d)\.(\d+)\.ffn\.layers\.1\.{W}", r"backbone.blocks.\1.\2.mlp.fc2.\3"),
        Rule(BACKBONE + rf"norm_list\.(\d)\.{W}", r"backbone.norm_list.\1.\2"),
        Rule(BACKBONE + rf"norm\.{W}", DROP),  # left over in the converted backbones
        *DENSE_HEAD,
    ),
    families={
        "pcpvt": Family(edge="masked", rounding="ceil", eps=1e-5),
        "svt": Family(edge="masked", rounding="ceil", eps=1e-5, stage_norms=True),
    },
)

MMDET = Format(
    name="mmdetection",
    recognised_by=(r"backbone\.blocks\.0\.0\.norm1\.weight", DETECTION),
    rules=(
        *AUTHORS_BACKBONE,
        Rule(rf"(neck\.(?:lateral_convs|fpn_convs)\.\d\.conv\.{W})", r"\1"),
        Rule(rf"(bbox_head\.(?:cls_convs|reg_convs)\.\d\.conv\.{W})", r"\1"),
        Rule(rf"(bbox_head\.(?:retina_cls|retina_reg)\.{W})", r"\1"),
        Rule(rf"(rpn_head\.(?:rpn_conv|rpn_cls|rpn_reg)\.{W})", r"\1"),
        Rule(rf"(roi_head\.bbox_head\.(?:shared_fcs\.\d|fc_cls|fc_reg)\.{W})", r"\1"),
        Rule(rf"(roi_head\.mask_head\.(?:convs\.\d\.conv|upsample|conv_logits)\.{W})", r"\1"),
    ),
    families={"pcpvt": Family(), "svt": Family(stage_norms=True)},
)

DETECTRON2 = Format(
    name="pvt_detectron2",
    recognised_by=(r"backbone\.bottom_up\.blocks\.0\.0\.norm1\.weight", r"head\.cls_score\.weight"),
    rules=(
        Rule(rf"backbone\.bottom_up\.(patch_embeds\.\d\.(?:proj|norm)\.{W})", r"backbone.\1"),
        Rule(rf"backbone\.bottom_up\.(pos_block\.\d\.proj\.0\.{W})", r"backbone.\1"),
        Rule(rf"backbone\.bottom_up\.(blocks\.\d\.\d+\.(?:norm1|norm2)\.{W})", r"backbone.\1"),
        Rule(rf"backbone\.bottom_up\.(blocks\.\d\.\d+\.attn\.(?:q|kv|qkv|proj|sr|norm)\.{W})", r"backbone.\1"),
        Rule(rf"backbone\.bottom_up\.(blocks\.\d\.\d+\.mlp\.(?:fc1|fc2)\.{W})", r"backbone.\1"),
        Rule(rf"backbone\.bottom_up\.(?:norm|head)\.{W}", DROP),
        *(Rule(rf"backbone\.fpn_lateral{i + 3}\.{W}", rf"neck.lateral_convs.{i}.conv.\1") for i in range(3)),
        *(Rule(rf"backbone\.fpn_output{i + 3}\.{W}", rf"neck.fpn_convs.{i}.conv.\1") for i in range(3)),
        *(Rule(rf"backbone\.top_block\.p{i + 3}\.{W}", rf"neck.fpn_convs.{i}.conv.\1") for i in (3, 4)),
        *(Rule(rf"head\.cls_subnet\.{2 * i}\.{W}", rf"bbox_head.cls_convs.{i}.conv.\1") for i in range(4)),
        *(Rule(rf"head\.bbox_subnet\.{2 * i}\.{W}", rf"bbox_head.reg_convs.{i}.conv.\1") for i in range(4)),
        Rule(rf"head\.cls_score\.{W}", r"bbox_head.retina_cls.\1"),
        Rule(rf"head\.bbox_pred\.{W}", r"bbox_head.retina_reg.\1"),
        Rule(r"anchor_generator\.cell_anchors\.\d|pixel_mean|pixel_std", DROP),  # the same in all files
    ),
    families={
        "pcpvt": Family(anchors="size", relu_before_p7=True),
        "svt": Family(anchors="size", relu_before_p7=True),
    },
)
"""A port of RetinaNet to detectron2, whose anchors have another order. Its SVT has no norms after the stages."""

FORMATS: tuple[Format, ...] = (TIMM, MMPRETRAIN, AUTHORS_SEG, MMSEG, MMDET, DETECTRON2)


def recognise(keys: list[str]) -> Format | None:
    """Return the format of a checkpoint with these keys, or None."""
    return next((candidate for candidate in FORMATS if fits(candidate, keys)), None)


def fits(candidate: Format, keys: list[str]) -> bool:
    """Return whether a checkpoint with these keys has this format."""
    found = all(any(re.fullmatch(pattern, key) for key in keys) for pattern in candidate.recognised_by)
    return found and not any(re.fullmatch(candidate.excluded_by, key) for key in keys)


def strip_prefixes(keys: list[str]) -> int:
    """Return the length of the wrapper prefixes that all keys share."""
    length = 0
    while keys and (found := next((p for p in PREFIXES if all(k.startswith(p, length) for k in keys)), "")):
        length += len(found)
    return length
