"""How often a model is right: counted over a data set, an image at a time.

Legend: N images · K classes · B bins
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from twins.card import Label

Z = 1.96  # standard deviations either side of a normal's mean that hold 95 % of it
BINS = 15  # of scores, for the calibration error
RESAMPLES, SEED = 1000, 0  # of the images, for the interval around a mean over classes
TOP = 5

Interval = tuple[float, float]  # of 95 % confidence: low, high; shares


@dataclass(frozen=True)
class ClassRight:
    """One class of a classifier."""

    label: str
    images: int
    right: int
    top1: float
    interval: Interval
    taken_for: str | None  # the class most often answered instead
    taken_for_images: int


@dataclass(frozen=True)
class Classified:
    """What a classifier is worth on some images. Shares, 0 to 1."""

    images: int
    top1: float
    top1_interval: Interval
    top5: float
    top5_interval: Interval
    mean_per_class: float
    calibration_error: float  # the mean gap between score and share of right answers, see `calibration_error`
    classes: tuple[ClassRight, ...]  # those with images
    confusion: tuple[tuple[int, ...], ...]  # true class, answered class: images


@dataclass
class ClassifierCount:
    """Takes a classifier's answers; `result` is what they amount to."""

    labels: Sequence[Label]
    truths: list[int] = field(default_factory=list)
    answers: list[Sequence[int]] = field(default_factory=list)  # best first, at least five where there are so many
    scores: list[float] = field(default_factory=list)  # of the best

    def add(self, truth: int, answers: Sequence[int], score: float) -> None:
        """One image: its class, the classes answered, best first, and the best one's score."""
        self.truths.append(truth)
        self.answers.append(answers)
        self.scores.append(score)

    @property
    def empty(self) -> bool:
        """Whether nothing was added."""
        return not self.truths

    def result(self) -> Classified:
        """At least one image must have been added."""
        truth, best = np.array(self.truths), np.array([answers[0] for answers in self.answers])
        confusion = pair_counts(truth, best, len(self.labels))
        right, total = int((truth == best).sum()), len(truth)
        among = sum(one in answers[:TOP] for one, answers in zip(self.truths, self.answers, strict=True))
        classes = tuple(self.classes(confusion))
        return Classified(
            images=total,
            top1=right / total,
            top1_interval=wilson(right, total),
            top5=among / total,
            top5_interval=wilson(among, total),
            mean_per_class=float(np.mean([each.top1 for each in classes])),
            calibration_error=calibration_error(np.array(self.scores), truth == best),
            classes=classes,
            confusion=tuple(map(tuple, confusion.tolist())),
        )

    def classes(self, confusion: NDArray[np.int64]) -> Iterator[ClassRight]:
        """The classes that have images; confusion: K K."""
        for i in np.flatnonzero(confusion.sum(1)).tolist():
            images, right = int(confusion[i].sum()), int(confusion[i, i])
            wrong = confusion[i].copy()
            wrong[i] = 0
            other = int(wrong.argmax()) if wrong.any() else None
            yield ClassRight(
                label=self.labels[i].name,
                images=images,
                right=right,
                top1=right / images,
                interval=wilson(right, images),
                taken_for=None if other is None else self.labels[other].name,
                taken_for_images=0 if other is None else int(wrong[other]),
            )


@dataclass(frozen=True)
class ClassOverlap:
    """One class of a segmentation network; None where it is neither in a mask nor in an answer."""

    label: str
    pixels: int
    iou: float | None
    accuracy: float | None  # the share of its pixels that were found


@dataclass(frozen=True)
class Segmented:
    """What a segmentation network is worth on some images. Shares, 0 to 1."""

    images: int
    miou: float  # mean over the classes of intersection over union, pixels of all images together
    miou_interval: Interval  # by drawing the images again
    pixel_accuracy: float
    mean_accuracy: float
    classes: tuple[ClassOverlap, ...]
    confusion: tuple[tuple[int, ...], ...]  # true class, answered class: pixels


@dataclass
class SegmenterCount:
    """Takes a segmentation network's masks; `result` is what they amount to."""

    labels: Sequence[Label]
    confusion: NDArray[np.int64] = field(init=False)  # K K
    images: list[NDArray[np.int64]] = field(default_factory=list)  # per image: 2 K, intersections and unions

    def __post_init__(self) -> None:
        self.confusion = np.zeros((len(self.labels), len(self.labels)), np.int64)

    def add(self, truth: NDArray[np.integer], answer: NDArray[np.integer]) -> None:
        """One image's masks, of one shape. Pixels whose true id is no class do not count."""
        known = truth < len(self.labels)
        counts = pair_counts(truth[known], answer[known], len(self.labels))
        self.confusion += counts
        self.images.append(overlaps(counts))

    @property
    def empty(self) -> bool:
        """Whether nothing was added."""
        return not self.images

    def result(self) -> Segmented:
        """At least one image must have been added."""
        both, either = overlaps(self.confusion)
        pixels = self.confusion.sum(1)
        classes = tuple(
            ClassOverlap(label.name, int(pixels[i]), share(both[i], either[i]), share(both[i], pixels[i]))
            for i, label in enumerate(self.labels)
        )
        return Segmented(
            images=len(self.images),
            miou=mean(each.iou for each in classes),
            miou_interval=resampled(np.stack(self.images)),
            pixel_accuracy=float(both.sum() / max(1, pixels.sum())),
            mean_accuracy=mean(each.accuracy for each in classes),
            classes=classes,
            confusion=tuple(map(tuple, self.confusion.tolist())),
        )


def pair_counts(truth: NDArray[np.integer], answer: NDArray[np.integer], classes: int) -> NDArray[np.int64]:
    """How often each true class met each answer, K K."""
    pairs = truth.astype(np.int64) * classes + answer.astype(np.int64)
    return np.bincount(pairs.ravel(), minlength=classes**2).reshape(classes, classes)


def overlaps(confusion: NDArray[np.int64]) -> NDArray[np.int64]:
    """confusion: K K; intersections and unions, 2 K."""
    both = confusion.diagonal()
    return np.stack([both, confusion.sum(0) + confusion.sum(1) - both])


def share(part: int, whole: int) -> float | None:
    """None of nothing."""
    return float(part / whole) if whole else None


def mean(values: Iterator[float | None]) -> float:
    """Of those that are there; NaN of none."""
    there = [value for value in values if value is not None]
    return float(np.mean(there)) if there else math.nan


def resampled(images: NDArray[np.int64]) -> Interval:
    """images: N 2 K. The middle 95 % of the mean IoU over N images drawn with replacement, many times."""
    random = np.random.default_rng(SEED)
    found = []
    for _ in range(RESAMPLES):
        counts = random.multinomial(len(images), np.full(len(images), 1 / len(images)))
        both, either = np.tensordot(counts, images, 1)
        found.append(mean(share(part, whole) for part, whole in zip(both.tolist(), either.tolist(), strict=True)))
    low, high = np.percentile(found, [2.5, 97.5]).tolist()
    return low, high


def wilson(part: int, whole: int) -> Interval:
    """The 95 % interval of a share from a count (Wilson's)."""
    centre, spread = part + Z**2 / 2, Z * math.sqrt(part * (whole - part) / whole + Z**2 / 4)
    return max(0.0, (centre - spread) / (whole + Z**2)), min(1.0, (centre + spread) / (whole + Z**2))


def calibration_error(scores: NDArray[np.float64], right: NDArray[np.bool_]) -> float:
    """scores, right: N. The expected calibration error: |score less share right|, over bins of equal width, weighted.

    Source: "On Calibration of Modern Neural Networks" (arXiv 1706.04599), section 2.
    """
    bins = np.minimum((scores * BINS).astype(int), BINS - 1)
    return float(sum(abs((scores[bins == b] - right[bins == b]).sum()) for b in range(BINS)) / len(scores))
