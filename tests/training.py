"""Images for training: discs and bars on noise, which a network learns in a few steps."""

import json
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw
from pycocotools import mask as coco

CLASSES = ("blue_bar", "red_disc")
OBJECTS = ("bar", "disc")
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


def annotated(root: Path, count: int) -> Path:
    """Write `count` images with their masks and their objects."""
    pairs(root, count)
    annotations = []
    for number in range(count):
        mask = np.asarray(draw(number)[1])
        left, top, right, bottom = Image.fromarray(mask).getbbox() or (0, 0, 0, 0)
        rle = coco.encode(np.asfortranarray((mask > 0).astype(np.uint8)))
        annotations.append(
            {
                **{"id": number + 1, "image_id": number + 1, "category_id": int(mask.max()), "iscrowd": 0},
                **{"bbox": [left, top, right - left, bottom - top], "area": int((mask > 0).sum())},
                "segmentation": {**rle, "counts": rle["counts"].decode()},
            }
        )
    images = [
        {"id": number + 1, "file_name": f"{number:03}.jpg", "width": SIZE[0], "height": SIZE[1]}
        for number in range(count)
    ]
    categories = [{"id": number, "name": name} for number, name in enumerate(OBJECTS, start=1)]
    document = {"images": images, "annotations": annotations, "categories": categories}
    (root / "instances.json").write_text(json.dumps(document))
    return root
