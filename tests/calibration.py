"""A folder of images to quantise with, made from the one that ships."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageEnhance

CAT = Path(__file__).parent.parent / "examples" / "cat.jpg"
COUNT = 16


def folder(path: Path, *, seed: int = 0) -> Path:
    """Write random crops in random brightness into a folder, which is made, and return it."""
    path.mkdir()
    random = np.random.default_rng(seed)
    with Image.open(CAT) as image:
        for number in range(COUNT):
            side = int(random.integers(min(image.size) // 3, min(image.size)))
            left, top = (int(random.integers(0, length - side + 1)) for length in image.size)
            crop = image.crop((left, top, left + side, top + side)).resize((160, 160))
            ImageEnhance.Brightness(crop).enhance(random.uniform(0.5, 1.3)).save(path / f"{number}.png")
    return path
