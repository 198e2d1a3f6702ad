"""Images for training: discs and bars on noise, which a network learns in a few steps."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

CLASSES = ("blue_bar", "red_disc")
SIZE = (150, 120)


def draw(number: int) -> tuple[Image.Image, Image.Image]:
    """Return an image and its mask. Odd numbers show a disc (class 2), even numbers a bar (class 1)."""
    random = np.random.default_rng(number)
    image = Image.fromarray(random.integers(60, 196, (SIZE[1], SIZE[0], 3), np.uint8))
    mask = Image.new("L", SIZE)
    left, top = random.integers(0, 60, 2).tolist()
    for canvas, red, blue in ((image, (230, 20, 20), (20, 20, 230)), (mask, 2, 1)):
        draw = ImageDraw.Draw(canvas)
        if number % 2:
            draw.ellipse((left, top, left + 60, top + 60), fill=red)
        else:
            draw.rectangle((left, top + 20, left + 80, top + 45), fill=blue)
    return image, mask


def class_folders(root: Path, count: int) -> Path:
    """Write `count` images in class folders."""
    for number in range(count):
        file = root / CLASSES[number % 2] / f"{number:03}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        draw(number)[0].save(file, quality=95)
    return root


def pairs(root: Path, count: int) -> Path:
    """Write `count` images with their masks."""
    for name in ("images", "masks"):
        (root / name).mkdir(parents=True)
    for number in range(count):
        image, mask = draw(number)
        image.save(root / "images" / f"{number:03}.jpg", quality=95)
        mask.save(root / "masks" / f"{number:03}.png")
    return root
