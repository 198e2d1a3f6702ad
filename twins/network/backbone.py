"""The backbone of all variants: it turns an image into four feature maps.

Legend: B batch · N tokens · C channels · H W map
"""

from typing import cast

from torch import Tensor, nn

from twins.network.layers import Block, PatchEmbed, PositionConv, Size, SubsampledAttention, WindowAttention, to_map
from twins.network.variants import Family, Variant

PATCHES = (4, 2, 2, 2)


class Backbone(nn.Module):
    """Four stages. Each has a patch embedding, blocks, and a position convolution after its first block."""

    def __init__(self, variant: Variant, family: Family) -> None:
        super().__init__()
        inputs = (3, *variant.dims[:3])
        self.patch_embeds = nn.ModuleList(map(PatchEmbed, inputs, variant.dims, PATCHES, [family] * 4))
        self.pos_block = nn.ModuleList(map(PositionConv, variant.dims))
        self.blocks = nn.ModuleList(stage_blocks(variant, stage, family) for stage in range(4))
        self.stage_norms = family.stage_norms
        if family.stage_norms:
            self.norm_list = nn.ModuleList(nn.LayerNorm(dim, eps=family.eps) for dim in variant.dims)

    def stage(self, stage: int, x: Tensor) -> tuple[Tensor, Size]:
        """Run one stage on the previous map (x: B C H W). Return tokens B N C and the size of their map."""
        tokens, size = self.patch_embeds[stage](x)
        blocks = cast(list[Block], list(self.blocks[stage].children()))
        # the first block's is that of all: in SVT it attends locally
        mask = blocks[0].attn.edge_mask(size, x.shape[0], x.device)
        for index, block in enumerate(blocks):
            tokens = block(tokens, size, mask)
            if index == 0:
                tokens = self.pos_block[stage](tokens, size)
        if self.stage_norms:
            tokens = self.norm_list[stage](tokens)
        return tokens, size

    def maps(self, x: Tensor, count: int = 4) -> tuple[Tensor, ...]:
        """Return the first `count` of the maps at strides 4, 8, 16 and 32, B C H W each. x: B 3 H W, normalised."""
        maps = []
        for stage in range(count):
            x = to_map(*self.stage(stage, x))
            maps.append(x)
        return tuple(maps)


class FeatureMaps(nn.Module):
    """The four maps of a backbone, as a module."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return the maps at strides 4, 8, 16 and 32, B C H W each. x: B 3 H W, normalised."""
        return self.backbone.maps(x)


def stage_blocks(variant: Variant, stage: int, family: Family) -> nn.ModuleList:
    """Return the blocks of one stage. In SVT the even blocks attend locally, in stage 4 as well."""
    dim, heads = variant.dims[stage], variant.heads[stage]

    def attention(index: int) -> WindowAttention | SubsampledAttention:
        if variant.window is not None and index % 2 == 0:
            return WindowAttention(dim, heads, variant.window, family)
        return SubsampledAttention(dim, heads, variant.reductions[stage], family)

    ratio = variant.mlp_ratios[stage]
    return nn.ModuleList(Block(dim, ratio, attention(index), family) for index in range(variant.depths[stage]))
