"""Scores of a model on a data set, counted one image at a time.

Legend: N images · K classes · B bins
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from twins.card import Label

Z = 1.96  # 95 % of a normal distribution lie within this many standard deviations of its mean
BINS = 15  # bins of scores for the calibration error
RESAMPLES, SEED = 1000, 0  # bootstrap of the images, for the interval of a mean over classes
TOP = 5

Interval = tuple[float, float]  # a 95 % confidence interval: lower and upper bound, from 0 to 1


@dataclass(frozen=True)
class ClassAccuracy:
    """The result of a classifier for one class. `right` counts the images classified correctly."""

    label: str
    images: int
    right: int
    top1: float
    interval: Interval
    taken_for: str | None  # the most frequent wrong class
    taken_for_images: int


@dataclass(frozen=True)
class ClassificationScores:
    """The scores of a classifier. Accuracies are from 0 to 1."""

    images: int
    top1: float
    top1_interval: Interval
    top5: float
    top5_interval: Interval
    mean_per_class: float
    calibration_error: float  # the mean gap between score and accuracy, see `calibration_error`
    classes: tuple[ClassAccuracy, ...]  # the classes with images
    confusion: tuple[tuple[int, ...], ...]  # [true class][predicted class]: number of images


@dataclass
class ClassifierCount:
    """Collect the predictions of a classifier and compute its scores."""

    labels: Sequence[Label]
    truths: list[int] = field(default_factory=list)
    answers: list[Sequence[int]] = field(default_factory=list)  # best first; five or all classes
    scores: list[float] = field(default_factory=list)  # the best score of each image

    def add(self, truth: int, answers: Sequence[int], score: float) -> None:
        """Add one image: its class, the predicted classes (best first), and the score of the best one."""
        self.truths.append(truth)
        self.answers.append(answers)
        self.scores.append(score)

    @property
    def empty(self) -> bool:
        """Return whether no image has been added."""
        return not self.truths

    def result(self) -> ClassificationScores:
        """Return the scores. At least one image must have been added."""
        truth, best = np.array(self.truths), np.array([answers[0] for answers in self.answers])
        confusion = pair_counts(truth, best, len(self.labels))
        right, total = int((truth == best).sum()), len(truth)
        in_top5 = sum(one in answers[:TOP] for one, answers in zip(self.truths, self.answers, strict=True))
        classes = tuple(self.classes(confusion))
        return ClassificationScores(
            images=total,
            top1=right / total,
            top1_interval=wilson(right, total),
            top5=in_top5 / total,
            top5_interval=wilson(in_top5, total),
            mean_per_class=float(np.mean([each.top1 for each in classes])),
            calibration_error=calibration_error(np.array(self.scores), truth == best),
            classes=classes,
            confusion=tuple(map(tuple, confusion.tolist())),
        )

    def classes(self, confusion: NDArray[np.int64]) -> Iterator[ClassAccuracy]:
        """Yield the results of the classes that have images. confusion: K K."""
        for i in np.flatnonzero(confusion.sum(1)).tolist():
            images, right = int(confusion[i].sum()), int(confusion[i, i])
            wrong = confusion[i].copy()
            wrong[i] = 0
            other = int(wrong.argmax()) if wrong.any() else None
            yield ClassAccuracy(
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
    """The result of a segmentation network for one class. A score is None if the class does not occur."""

    label: str
    pixels: int
    iou: float | None
    accuracy: float | None  # the fraction of its pixels that were found


@dataclass(frozen=True)
class SegmentationScores:
    """The scores of a segmentation network, from 0 to 1."""

    images: int
    miou: float  # mean intersection over union of the classes, over the pixels of all images
    miou_interval: Interval  # by bootstrap over the images
    pixel_accuracy: float
    mean_accuracy: float
    classes: tuple[ClassOverlap, ...]
    confusion: tuple[tuple[int, ...], ...]  # [true class][predicted class]: number of pixels


@dataclass
class SegmenterCount:
    """Collect the masks of a segmentation network and compute its scores."""

    labels: Sequence[Label]
    confusion: NDArray[np.int64] = field(init=False)  # K K
    images: list[NDArray[np.int64]] = field(default_factory=list)  # per image: 2 K, intersections and unions

    def __post_init__(self) -> None:
        self.confusion = np.zeros((len(self.labels), len(self.labels)), np.int64)

    def add(self, truth: NDArray[np.integer], answer: NDArray[np.integer]) -> None:
        """Add the true and the predicted mask of one image. Pixels whose true id is not a class do not count."""
        known = truth < len(self.labels)
        counts = pair_counts(truth[known], answer[known], len(self.labels))
        self.confusion += counts
        self.images.append(overlaps(counts))

    @property
    def empty(self) -> bool:
        """Return whether no image has been added."""
        return not self.images

    def result(self) -> SegmentationScores:
        """Return the scores. At least one image must have been added."""
        both, either = overlaps(self.confusion)
        pixels = self.confusion.sum(1)
        classes = tuple(
            ClassOverlap(label.name, int(pixels[i]), share(both[i], either[i]), share(both[i], pixels[i]))
            for i, label in enumerate(self.labels)
        )
        return SegmentationScores(
            images=len(self.images),
            miou=mean(each.iou for each in classes),
            miou_interval=resampled(np.stack(self.images)),
            pixel_accuracy=float(both.sum() / max(1, pixels.sum())),
            mean_accuracy=mean(each.accuracy for each in classes),
            classes=classes,
            confusion=tuple(map(tuple, self.confusion.tolist())),
        )


def pair_counts(truth: NDArray[np.integer], answer: NDArray[np.integer], classes: int) -> NDArray[np.int64]:
    """Return how often each pair of true and predicted class occurs, K K."""
    pairs = truth.astype(np.int64) * classes + answer.astype(np.int64)
    return np.bincount(pairs.ravel(), minlength=classes**2).reshape(classes, classes)


def overlaps(confusion: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the intersections and unions of the classes, 2 K. confusion: K K."""
    both = confusion.diagonal()
    return np.stack([both, confusion.sum(0) + confusion.sum(1) - both])


def share(part: int, whole: int) -> float | None:
    """Return part / whole, or None if `whole` is 0."""
    return float(part / whole) if whole else None


def mean(values: Iterator[float | None]) -> float:
    """Return the mean of the values that are not None, or NaN if there are none."""
    there = [value for value in values if value is not None]
    return float(np.mean(there)) if there else math.nan


def resampled(images: NDArray[np.int64]) -> Interval:
    """Return the 95 % bootstrap interval of the mean IoU. images: N 2 K, drawn N times with replacement."""
    random = np.random.default_rng(SEED)
    found = []
    for _ in range(RESAMPLES):
        counts = random.multinomial(len(images), np.full(len(images), 1 / len(images)))
        both, either = np.tensordot(counts, images, 1)
        found.append(mean(share(part, whole) for part, whole in zip(both.tolist(), either.tolist(), strict=True)))
    low, high = np.percentile(found, [2.5, 97.5]).tolist()
    return low, high


def wilson(part: int, whole: int) -> Interval:
    """Return the 95 % Wilson interval of a proportion."""
    centre, spread = part + Z**2 / 2, Z * math.sqrt(part * (whole - part) / whole + Z**2 / 4)
    return max(0.0, (centre - spread) / (whole + Z**2)), min(1.0, (centre + spread) / (whole + Z**2))


def calibration_error(scores: NDArray[np.float64], right: NDArray[np.bool_]) -> float:
    """Return the expected calibration error: the mean gap between score and accuracy in bins of equal width.

    scores, right: N. Source: "On Calibration of Modern Neural Networks" (arXiv 1706.04599), section 2.
    """
    bins = np.minimum((scores * BINS).astype(int), BINS - 1)
    return float(sum(abs((scores[bins == b] - right[bins == b]).sum()) for b in range(BINS)) / len(scores))
