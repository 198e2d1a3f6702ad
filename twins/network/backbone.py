"""The backbone of all variants: it turns an image into four feature maps.

Legend: B batch · N tokens · C channels · H W map
"""

from typing import cast

from torch import Tensor, nn

from twins.network.layers import (
    Block,
    PatchEmbed,
    PositionConv,
    PositionTable,
    Size,
    SubsampledAttention,
    WindowAttention,
    to_map,
)
from twins.network.variants import LOCAL, Family, Variant

PATCHES = (4, 2, 2, 2)
SIDES = (56, 28, 14, 7)  # of the maps of an image of 224 pixels, for which absolute positions are learnt
BEFORE = -1  # the index of the block after which positions are encoded, if that is before the first one


class Backbone(nn.Module):
    """Three or four stages. Each has a patch embedding, blocks, and usually a position convolution after its first."""

    def __init__(self, variant: Variant, family: Family) -> None:
        super().__init__()
        self.variant, self.stages = variant, variant.stages
        patches, inputs = PATCHES[: self.stages], (3, *variant.dims[:-1])
        self.patch_embeds = nn.ModuleList(map(PatchEmbed, inputs, variant.dims, patches, [family] * self.stages))
        self.encode_after = BEFORE if variant.positions == "absolute" else variant.encode_after
        self.positions = variant.positions
        if self.positions == "convolution":
            self.pos_block = nn.ModuleList(map(PositionConv, variant.dims))
        elif self.positions == "absolute":
            self.pos_embeds = nn.ModuleList(map(PositionTable, variant.dims, SIDES))
        self.blocks = nn.ModuleList(stage_blocks(variant, stage, family) for stage in range(self.stages))
        self.stage_norms = family.stage_norms
        if family.stage_norms:
            self.norm_list = nn.ModuleList(nn.LayerNorm(dim, eps=family.eps) for dim in variant.dims)

    def stage(self, stage: int, x: Tensor) -> tuple[Tensor, Size]:
        """Run one stage on the previous map (x: B C H W). Return tokens B N C and the size of their map."""
        tokens, size = self.patch_embeds[stage](x)
        tokens = self.encoded(stage, BEFORE, tokens, size)
        blocks = cast(list[Block], list(self.blocks[stage].children()))
        masks = (block.attn.edge_mask(size, x.shape[0], x.device) for block in blocks)
        mask = next((each for each in masks if each is not None), None)  # that of all blocks with windows
        for index, block in enumerate(blocks):
            tokens = self.encoded(stage, index, block(tokens, size, mask), size)
        if self.stage_norms:
            tokens = self.norm_list[stage](tokens)
        return tokens, size

    def encoded(self, stage: int, index: int, tokens: Tensor, size: Size) -> Tensor:
        """Return the tokens after the block with this index, with their positions if they are encoded there."""
        if index != self.encode_after or self.positions == "none":
            return tokens
        encoders = self.pos_block if self.positions == "convolution" else self.pos_embeds
        return encoders[stage](tokens, size)

    def maps(self, x: Tensor, count: int | None = None) -> tuple[Tensor, ...]:
        """Return the first `count` of the maps, or all, at strides 4, 8, 16 and 32. x: B 3 H W, normalised."""
        maps = []
        for stage in range(self.stages if count is None else count):
            x = to_map(*self.stage(stage, x))
            maps.append(x)
        return tuple(maps)


class FeatureMaps(nn.Module):
    """The maps of a backbone, as a module."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return the maps at strides 4, 8, 16 and 32, B C H W each. x: B 3 H W, normalised."""
        return self.backbone.maps(x)


def stage_blocks(variant: Variant, stage: int, family: Family) -> nn.ModuleList:
    """Return the blocks of one stage."""
    dim, heads, ratio = variant.dims[stage], variant.heads[stage], variant.mlp_ratios[stage]

    def attention(letter: str) -> WindowAttention | SubsampledAttention:
        if letter == LOCAL:
            return WindowAttention(dim, heads, variant.window, family)
        return SubsampledAttention(dim, heads, variant.reductions[stage], family, variant.subsampling)

    return nn.ModuleList(Block(dim, ratio, attention(letter), family) for letter in variant.letters(stage))
