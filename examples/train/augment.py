"""Augment a batch of crops.

Legend: B batch · S side of a crop · K classes
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from twins.card import Normalisation

TILES = 7  # tiles along a side of a shuffled image; must divide the side of every crop


def normalise(pixels: Tensor) -> Tensor:
    """Return B 3 S S, normalised as in the service. pixels: B S S 3, uint8."""
    mean, deviation = statistics()
    return pixels.permute(0, 3, 1, 2).float().sub_(mean).div_(deviation).contiguous()


def pixels(x: Tensor) -> Tensor:
    """Return values from 0 to 255, B 3 S S, of normalised images, clipped. x: B 3 S S."""
    mean, deviation = statistics()
    return (x * deviation + mean).clamp_(0, 255)


def statistics() -> tuple[Tensor, Tensor]:
    """Return the mean and the deviation of pixels, 1 3 1 1 each."""
    scale = Normalisation()
    mean, deviation = (torch.tensor(values).mul(255).view(1, 3, 1, 1) for values in (scale.mean, scale.std))
    return mean, deviation


def recolour(x: Tensor, random: torch.Generator) -> Tensor:
    """Change the contrast, saturation, brightness and tint of each image; make some grey. x: B 3 S S, normalised."""
    batch = len(x)

    def uniform(low: float, high: float, channels: int = 1) -> Tensor:
        return torch.rand(batch, channels, 1, 1, generator=random) * (high - low) + low

    grey = x.mean(dim=1, keepdim=True)
    saturation = uniform(0.5, 1.5) * (uniform(0, 1) > 0.08)
    x = grey + (x - grey) * saturation
    middle = x.mean(dim=(1, 2, 3), keepdim=True)
    return (x - middle) * uniform(0.65, 1.4) + middle + uniform(-0.4, 0.4) + uniform(-0.15, 0.15, channels=3)


def flip(x: Tensor, random: torch.Generator) -> Tensor:
    """Mirror half of the images. x: B 3 S S."""
    return mirror(x, bernoulli(x, random))


def flip_both(x: Tensor, masks: Tensor, random: torch.Generator) -> tuple[Tensor, Tensor]:
    """Mirror half of the images, with their masks. x: B 3 S S; masks: B S S."""
    mirrored = bernoulli(x, random)
    return mirror(x, mirrored), mirror(masks, mirrored)


def bernoulli(x: Tensor, random: torch.Generator, probability: float = 0.5) -> Tensor:
    """Return B random booleans, true with this probability."""
    return torch.rand(len(x), generator=random) < probability


def mirror(x: Tensor, mirrored: Tensor) -> Tensor:
    """Mirror the images of which `mirrored` is true. x: B … S; mirrored: B."""
    return torch.where(mirrored.view(-1, *[1] * (x.ndim - 1)), x.flip(-1), x)


def paste(x: Tensor, masks: Tensor, random: torch.Generator, probability: float) -> tuple[Tensor, Tensor]:
    """Paste the foreground of the neighbour into some of the images. x: B 3 S S; masks: B S S, 0 for background."""
    neighbours, neighbour_masks = x.roll(1, 0), masks.roll(1, 0)
    pasted = (neighbour_masks > 0) & bernoulli(x, random, probability).view(-1, 1, 1)  # B S S
    return torch.where(pasted.unsqueeze(1), neighbours, x), torch.where(pasted, neighbour_masks, masks)


def cutmix(x: Tensor, targets: tuple[Tensor, ...], random: torch.Generator) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Replace a rectangle of every image by its neighbour's, and mix the targets by area (CutMix).

    x: B 3 S S; each of the targets: B K.
    """
    side = x.shape[-1]
    share = torch.rand(1, generator=random).item() ** 0.5
    half = max(1, round(side * share / 2))
    row, column = torch.randint(side, (2,), generator=random).tolist()
    rows, columns = (slice(max(0, middle - half), min(side, middle + half)) for middle in (row, column))
    area = (rows.stop - rows.start) * (columns.stop - columns.start) / side**2
    x[:, :, rows, columns] = x.roll(1, 0)[:, :, rows, columns]
    return x, tuple(target.lerp(target.roll(1, 0), area) for target in targets)


def remove_objects(
    x: Tensor, targets: tuple[Tensor, ...], random: torch.Generator, count: int
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Turn the first `count` images into images without objects, with equal targets for all classes.

    Half of these images have shuffled tiles, which leave only the texture. The others become clouds of colours.
    x: B 3 S S, normalised; each of the targets: B K.
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
