"""Crop images of other things from annotated images: parts that show no object of some classes."""

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

import numpy as np

from examples.train import crops
from examples.train.annotated_images import AnnotatedImage
from examples.train.pairs import IGNORE_INDEX

AREA = (0.12, 0.6)  # fraction of the image that a crop covers
ATTEMPTS = 20  # per image
SMALLEST = 96  # pixels; shorter side of a crop


def write(found: Sequence[AnnotatedImage], output: Path, without: Collection[int], most: int, seed: int) -> int:
    """Write at most `most` crops of each image to a folder. Return their number.

    `without` are the numbers of the classes that no crop shows, 0 for the first class after the background.
    """
    output.mkdir(parents=True, exist_ok=True)
    count = 0
    for index, source in enumerate(found):
        for number, box in zip(range(most), boxes(source, index, without, seed), strict=False):
            left, top, right, bottom = map(round, box)
            source.image.crop((left, top, right, bottom)).save(output / f"{index:05}-{number}.jpg", quality=92)
            count += 1
    return count


def boxes(source: AnnotatedImage, index: int, without: Collection[int], seed: int) -> Iterator[crops.Box]:
    """Yield boxes of an image that touch no object of these classes, nothing that is ignored, and not each other."""
    if not source.known:
        return
    taken = [*source.boxes[np.isin(source.classes, list(without))], *source.ignored]
    mask = np.asarray(source.mask)
    excluded = np.isin(mask, [*(number + 1 for number in without), IGNORE_INDEX])
    for attempt in range(ATTEMPTS):
        left, top, right, bottom = crops.box(source.image.size, index, attempt, seed, AREA)
        inside = excluded[int(top) : round(bottom), int(left) : round(right)]
        touched = any(left < end and start < right and top < low and high < bottom for start, high, end, low in taken)
        if min(right - left, bottom - top) >= SMALLEST and not touched and not inside.any():
            taken.append(np.array([left, top, right, bottom], np.float32))
            yield (left, top, right, bottom)
