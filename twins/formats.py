"""Other projects' checkpoints, as data: how to recognise each and what its keys are called here.

The names used here are the authors' and timm's. Every key of a file matches exactly one rule, or the file is refused.
"""

import re
from dataclasses import dataclass

from twins.variants import Family, Kind

DROP = ""  # the target of a key that is not needed here

PREFIXES = ("module.", "model.", "timm_model.", "backbone.")
"""Left by wrappers (data parallel, Lightning, transformers' TimmWrapper); taken off while every key has one."""

CONTAINERS = ("state_dict_ema", "model_ema", "state_dict", "model")
"""Where training scripts put the weights, best first: the moving average is what was measured."""


@dataclass(frozen=True)
class Rule:
    """Keys that match `pattern` as a whole are called `target` here: a template for `re.Match.expand`."""

    pattern: str
    target: str


@dataclass(frozen=True)
class Format:
    """One project's way to name the parameters of a Twins network, and how its network behaves."""

    name: str
    recognised_by: str  # a pattern that a key of this format alone matches
    rules: tuple[Rule, ...]
    families: dict[Kind, Family]
    crop: float  # the share of the short side its evaluation keeps


W = r"(weight|bias)"
TRUNK = r"(?:backbone\.)?"  # a wrapper may have named the trunk and left the head bare

TIMM = Format(
    name="timm / authors",
    recognised_by=r"(backbone\.)?blocks\.0\.0\.norm1\.weight",
    rules=(
        Rule(TRUNK + rf"(patch_embeds\.\d\.(?:proj|norm)\.{W})", r"\1"),
        Rule(TRUNK + rf"(pos_block\.\d\.proj\.0\.{W})", r"\1"),
        Rule(TRUNK + rf"(blocks\.\d\.\d+\.(?:norm1|norm2)\.{W})", r"\1"),
        Rule(TRUNK + rf"(blocks\.\d\.\d+\.attn\.(?:q|kv|qkv|proj|sr|norm)\.{W})", r"\1"),
        Rule(TRUNK + rf"(blocks\.\d\.\d+\.mlp\.(?:fc1|fc2)\.{W})", r"\1"),
        Rule(TRUNK + rf"(norm\.{W})", r"\1"),
        Rule(rf"(head\.{W})", r"\1"),
    ),
    families={"pcpvt": Family(), "svt": Family()},
    crop=0.9,
)

MMPRETRAIN = Format(
    name="mmpretrain",
    recognised_by=r"(backbone\.)?stages\.0\.0\.norm1\.weight",
    rules=(
        Rule(TRUNK + rf"patch_embeds\.(\d)\.projection\.{W}", r"patch_embeds.\1.proj.\2"),
        Rule(TRUNK + rf"patch_embeds\.(\d)\.norm\.{W}", r"patch_embeds.\1.norm.\2"),
        Rule(TRUNK + rf"position_encodings\.(\d)\.proj\.{W}", r"pos_block.\1.proj.0.\2"),
        Rule(TRUNK + rf"stages\.(\d)\.(\d+)\.(norm1|norm2)\.{W}", r"blocks.\1.\2.\3.\4"),
        Rule(TRUNK + rf"stages\.(\d)\.(\d+)\.attn\.(q|kv|qkv|proj|sr|norm)\.{W}", r"blocks.\1.\2.attn.\3.\4"),
        Rule(TRUNK + rf"stages\.(\d)\.(\d+)\.ffn\.layers\.0\.0\.{W}", r"blocks.\1.\2.mlp.fc1.\3"),
        Rule(TRUNK + rf"stages\.(\d)\.(\d+)\.ffn\.layers\.1\.{W}", r"blocks.\1.\2.mlp.fc2.\3"),
        Rule(TRUNK + rf"norm_after_stage3\.{W}", r"norm.\1"),
        Rule(rf"head\.fc\.{W}", r"head.\1"),
    ),
    families={
        "pcpvt": Family(edge="masked", rounding="ceil", eps=1e-6, patch_eps=1e-5, reduction_eps=1e-6),
        "svt": Family(edge="masked", rounding="ceil", eps=1e-5, patch_eps=1e-5, reduction_eps=1e-5),
    },
    crop=0.875,
)

FORMATS: tuple[Format, ...] = (TIMM, MMPRETRAIN)


def recognise(keys: list[str]) -> Format | None:
    """The format that a checkpoint with these keys is in."""
    for candidate in FORMATS:
        if any(re.fullmatch(candidate.recognised_by, key) for key in keys):
            return candidate
    return None


def strip_prefixes(keys: list[str]) -> int:
    """How many leading characters of every key are wrappers' prefixes."""
    length = 0
    while keys and (found := next((p for p in PREFIXES if all(k.startswith(p, length) for k in keys)), "")):
        length += len(found)
    return length
