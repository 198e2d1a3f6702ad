"""What a batch of views goes through before a network learns from it.

Legend: B batch · S side of a view · K classes
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from twins.card import Normalisation

TILES = 7  # to a side of an image that is shuffled: divides the side of every view


def normalise(pixels: Tensor) -> Tensor:
    """pixels: B S S 3, uint8; B 3 S S as the network takes it when it is served."""
    scale = Normalisation()
    mean, deviation = (torch.tensor(values).mul(255).view(1, 3, 1, 1) for values in (scale.mean, scale.std))
    return pixels.permute(0, 3, 1, 2).float().sub_(mean).div_(deviation).contiguous()


def recolour(x: Tensor, random: torch.Generator) -> Tensor:
    """x: B 3 S S, normalised; each image with its own contrast, saturation, brightness and tint, some grey."""
    batch = len(x)

    def uniform(low: float, high: float, channels: int = 1) -> Tensor:
        return torch.rand(batch, channels, 1, 1, generator=random) * (high - low) + low

    grey = x.mean(dim=1, keepdim=True)
    saturation = uniform(0.5, 1.5) * (uniform(0, 1) > 0.08)
    x = grey + (x - grey) * saturation
    middle = x.mean(dim=(1, 2, 3), keepdim=True)
    return (x - middle) * uniform(0.65, 1.4) + middle + uniform(-0.4, 0.4) + uniform(-0.15, 0.15, channels=3)


def flip(x: Tensor, random: torch.Generator) -> Tensor:
    """x: B 3 S S; each image as it is or mirrored."""
    return mirror(x, coins(x, random))


def flip_both(x: Tensor, masks: Tensor, random: torch.Generator) -> tuple[Tensor, Tensor]:
    """x: B 3 S S; masks: B S S. Each image with its mask as it is or mirrored."""
    mirrored = coins(x, random)
    return mirror(x, mirrored), mirror(masks, mirrored)


def coins(x: Tensor, random: torch.Generator, share: float = 0.5) -> Tensor:
    """For each of B whether its coin fell so: B, true with that probability."""
    return torch.rand(len(x), generator=random) < share


def mirror(x: Tensor, mirrored: Tensor) -> Tensor:
    """x: B … S; mirrored: B. Left and right exchanged where so wanted."""
    return torch.where(mirrored.view(-1, *[1] * (x.ndim - 1)), x.flip(-1), x)


def paste(x: Tensor, masks: Tensor, random: torch.Generator, share: float) -> tuple[Tensor, Tensor]:
    """x: B 3 S S; masks: B S S, 0 for background. Into a share of the images goes what their neighbour shows."""
    others, there = x.roll(1, 0), masks.roll(1, 0)
    cut = (there > 0) & coins(x, random, share).view(-1, 1, 1)  # B S S
    return torch.where(cut.unsqueeze(1), others, x), torch.where(cut, there, masks)


def cutmix(x: Tensor, targets: tuple[Tensor, ...], random: torch.Generator) -> tuple[Tensor, tuple[Tensor, ...]]:
    """x: B 3 S S, and targets B K each; a rectangle of every image replaced by its neighbour's, targets by area."""
    side = x.shape[-1]
    share = torch.rand(1, generator=random).item() ** 0.5
    half = max(1, round(side * share / 2))
    row, column = torch.randint(side, (2,), generator=random).tolist()
    rows, columns = (slice(max(0, middle - half), min(side, middle + half)) for middle in (row, column))
    area = (rows.stop - rows.start) * (columns.stop - columns.start) / side**2
    x[:, :, rows, columns] = x.roll(1, 0)[:, :, rows, columns]
    return x, tuple(target.lerp(target.roll(1, 0), area) for target in targets)


def nothing(
    x: Tensor, targets: tuple[Tensor, ...], random: torch.Generator, count: int
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """x: B 3 S S, normalised, and targets B K each. The first `count` images show no thing: any class is as likely.

    Of half of them the tiles are shuffled, so that only the texture is left; the others become clouds of colours.
    """
    shuffled, side = count // 2, x.shape[-1]
    tiles = x[:shuffled].unflatten(3, (TILES, -1)).unflatten(2, (TILES, -1))  # B 3 rows s columns s
    tiles = tiles.permute(2, 4, 0, 1, 3, 5).flatten(0, 1)[torch.randperm(TILES**2, generator=random)]
    x[:shuffled] = tiles.unflatten(0, (TILES, TILES)).permute(2, 3, 0, 4, 1, 5).flatten(4, 5).flatten(2, 3)
    coarse = int(torch.randint(1, TILES, (1,), generator=random))
    clouds = torch.randn(count - shuffled, 3, coarse, coarse, generator=random)
    x[shuffled:count] = F.interpolate(clouds, (side, side), mode="bicubic", align_corners=False)
    for target in targets:
        target[:count] = 1 / target.shape[1]
    return x, targets
