"""Draw what one point of an image attends to: `python examples/attention.py IMAGE OUTPUT --at 0.5,0.5`.

Each row is a stage, with the maps of its blocks: LSA shows the window of the point, GSA the whole image at the
resolution of the sub-sampled keys. The maps are means over the heads.

Legend: N tokens · C channels · H W map · h heads · d channels per head · w window side · M keys
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import click
import numpy as np
import torch
from PIL import Image, ImageDraw, ImageOps
from torch import Tensor, nn

import twins
from twins.network.backbone import Backbone
from twins.network.layers import Block, Size, SubsampledAttention, WindowAttention, to_map, to_tokens
from twins.preprocessing import IMAGENET

Point = tuple[int, int]  # (row, column) of a token
TILE, GAP = 144, 6  # pixels
COLOUR, POINT = (255, 60, 0), (0, 160, 255)
STRENGTH = 0.75  # of the colour where attention is highest


@dataclass(frozen=True)
class Call:
    """What one attention layer was called with."""

    stage: int
    layer: WindowAttention | SubsampledAttention
    x: Tensor  # 1 N C
    size: Size
    mask: Tensor | None


def local_weights(call: Call, point: Point) -> Tensor:
    """Return the weights with which a token attends to each token of the map, h H W; zero outside its window."""
    layer, (height, width) = call.layer, call.size
    assert isinstance(layer, WindowAttention)
    w, (row, column) = layer.window, point
    top, left = row - row % w, column - column % w
    window = call.x.unflatten(1, call.size)[0, top : top + w, left : left + w]  # less than w w at the edge
    padded = window.new_zeros(w, w, window.shape[-1])
    padded[: window.shape[0], : window.shape[1]] = window
    q, k, _ = layer.qkv(padded.flatten(0, 1)).unflatten(-1, (3, layer.heads, -1)).permute(1, 2, 0, 3)  # h (w w) d
    query = (row - top) * w + column - left
    scores = (k @ q[:, query, :, None]).squeeze(-1) / q.shape[-1] ** 0.5  # h (w w)
    if call.mask is not None:
        number = top // w * layer.window_grid(call.size)[1] + left // w
        scores = scores.masked_fill(~call.mask[number, 0, query], float("-inf"))
    found = scores.new_zeros(layer.heads, height, width)
    weights = scores.softmax(-1).unflatten(-1, (w, w))
    found[:, top : top + w, left : left + w] = weights[:, : window.shape[0], : window.shape[1]]
    return found


def global_weights(call: Call, point: Point) -> Tensor:
    """Return the weights with which a token attends to each key, h rows columns of the sub-sampled map."""
    layer, (height, width) = call.layer, call.size
    assert isinstance(layer, SubsampledAttention)
    keys, rows, columns = call.x, height // layer.reduction, width // layer.reduction
    if layer.reduction > 1:
        keys = layer.norm(to_tokens(layer.sr(to_map(call.x, call.size))))  # 1 M C
    query = call.x[0, point[0] * width + point[1]]
    q = layer.q(query).unflatten(-1, (layer.heads, -1))  # h d
    k = layer.kv(keys)[0].unflatten(-1, (2, layer.heads, -1))[:, 0]  # M h d
    scores = torch.einsum("hd,mhd->hm", q, k) / q.shape[-1] ** 0.5
    return scores.softmax(-1).unflatten(-1, (rows, columns))


def weights(call: Call, point: Point) -> Tensor:
    """Return the weights of a token by head, over the map or over the sub-sampled map."""
    return (local_weights if isinstance(call.layer, WindowAttention) else global_weights)(call, point)


@contextmanager
def recorded(network: Backbone) -> Iterator[list[Call]]:
    """Yield a list that gets the calls of all attention layers."""
    calls: list[Call] = []

    def hook(stage: int, layer: WindowAttention | SubsampledAttention) -> torch.utils.hooks.RemovableHandle:
        return layer.register_forward_pre_hook(lambda _, given: calls.append(Call(stage, layer, *given)))

    stages = (cast(list[Block], list(stage.children())) for stage in network.blocks.children())
    handles = [hook(number, block.attn) for number, stage in enumerate(stages) for block in stage]
    try:
        yield calls
    finally:
        for handle in handles:
            handle.remove()


def backbone_of(network: nn.Module) -> Backbone:
    """Return the backbone of a network of any head."""
    found = network if isinstance(network, Backbone) else network.backbone
    assert isinstance(found, Backbone)
    return found


def normalised(image: Image.Image) -> Tensor:
    """Return an image as the input of a network, 1 3 H W."""
    mean, std = (torch.tensor(each)[:, None, None] for each in (IMAGENET.mean, IMAGENET.std))
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1) / 255
    return ((pixels - mean) / std)[None]


def overlay(image: Image.Image, found: Tensor, at: tuple[float, float]) -> Image.Image:
    """Return a tile of the image, coloured where the weights are high, with a mark at the point. found: h H W."""
    mean = found.mean(0)
    alpha = (mean / mean.max() * 255 * STRENGTH).byte().numpy()
    resize = Image.Resampling.NEAREST
    mask = Image.fromarray(alpha).resize((TILE, TILE), resize)
    tile = Image.composite(Image.new("RGB", (TILE, TILE), COLOUR), image.resize((TILE, TILE)), mask)
    x, y = at[0] * TILE, at[1] * TILE
    ImageDraw.Draw(tile).ellipse((x - 4, y - 4, x + 4, y + 4), outline="white", fill=POINT)
    return tile


def draw(network: Backbone, image: Image.Image, at: tuple[float, float]) -> Image.Image:
    """Return the maps of all blocks, a row for each stage. `at` is (x, y) as fractions of the image."""
    with torch.inference_mode(), recorded(network) as calls:
        network.maps(normalised(image))
        tiles = [(call.stage, overlay(image, weights(call, token(at, call.size)), at)) for call in calls]
    most = max(sum(stage == row for stage, _ in tiles) for row in range(network.stages))
    drawn = Image.new("RGB", (GAP + most * (TILE + GAP), GAP + network.stages * (TILE + GAP)), "white")
    columns = [0] * network.stages
    for row, tile in tiles:
        drawn.paste(tile, (GAP + columns[row] * (TILE + GAP), GAP + row * (TILE + GAP)))
        columns[row] += 1
    return drawn


def token(at: tuple[float, float], size: Size) -> Point:
    """Return the token of a map at a point of the image."""
    x, y = at
    return min(size[0] - 1, int(y * size[0])), min(size[1] - 1, int(x * size[1]))


def parse_point(_: click.Context, __: click.Parameter, text: str) -> tuple[float, float]:
    """Return two fractions. Raise BadParameter."""
    try:
        x, y = map(float, text.split(","))
    except ValueError as error:
        raise click.BadParameter("give two numbers such as 0.5,0.5") from error
    if not (0 <= x <= 1 and 0 <= y <= 1):
        raise click.BadParameter("both numbers are from 0 to 1")
    return x, y


@click.command()
@click.argument("image", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("output", type=click.Path(path_type=Path))
@click.option("--at", default="0.5,0.5", callback=parse_point, help="The point, X,Y as fractions of the image.")
@click.option("--model", default="twins_svt_nano", show_default=True, help="A model, as `twins.load` takes it.")
@click.option("--side", default=224, show_default=True, type=click.IntRange(32), help="Of the square that is used.")
def main(image: Path, output: Path, *, at: tuple[float, float], model: str, side: int) -> None:
    """Draw the attention of one point of IMAGE in all blocks into the file OUTPUT."""
    with Image.open(image) as opened:
        square = ImageOps.fit(ImageOps.exif_transpose(opened).convert("RGB"), (side, side))
    draw(backbone_of(twins.load(model)), square, at).save(output)


if __name__ == "__main__":
    main()
