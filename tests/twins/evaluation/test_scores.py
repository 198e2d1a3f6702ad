"""Scores, compared with values calculated by hand."""

import math

import numpy as np
import pytest

from twins.card import Label
from twins.evaluation import scores
from twins.evaluation.scores import ClassifierCount, SegmenterCount

LABELS = tuple(map(Label, "abcdefg"))
IGNORE_INDEX = 65535


@pytest.fixture
def classified():
    """Count four images of a (three right, one of these not in first place) and two of b (one of them wrong)."""
    count = ClassifierCount(LABELS)
    for truth, answers, score in [
        (0, [0, 1, 2, 3, 4], 0.9),
        (0, [0, 1, 2, 3, 4], 0.9),
        (0, [2, 0, 1, 3, 4], 0.5),
        (0, [2, 1, 3, 4, 5], 0.5),
        (1, [1, 0, 2, 3, 4], 0.9),
        (1, [0, 6, 5, 4, 3], 0.7),
    ]:
        count.add(truth, answers, score)
    return count.result()


def test_top_1_counts_best_answers(classified):
    assert classified.top1 == 3 / 6


def test_top_5_counts_the_first_five_answers(classified):
    assert classified.top5 == 4 / 6


def test_the_mean_per_class_weighs_all_classes_equally(classified):
    assert classified.mean_per_class == (2 / 4 + 1 / 2) / 2


def test_classes_without_images_are_left_out(classified):
    assert [each.label for each in classified.classes] == ["a", "b"]


def test_a_class_reports_its_most_frequent_error(classified):
    first, second = classified.classes
    assert (first.taken_for, first.taken_for_images) == ("c", 2)
    assert (second.taken_for, second.taken_for_images) == ("a", 1)


def test_a_class_without_errors_reports_none():
    count = ClassifierCount(LABELS)
    count.add(3, [3, 0, 1, 2, 4], 0.8)
    assert count.result().classes[0].taken_for is None


def test_the_confusion_has_true_classes_as_rows(classified):
    assert classified.confusion[1][:3] == (1, 1, 0)


def test_the_calibration_error_is_the_mean_gap_between_score_and_accuracy():
    scored = np.array([0.95, 0.95, 0.95, 0.95, 0.25, 0.25])
    right = np.array([True, True, True, False, False, False])
    expected = (4 * (0.95 - 0.75) + 2 * (0.25 - 0)) / 6
    assert scores.calibration_error(scored, right) == pytest.approx(expected)


def test_a_score_of_one_falls_into_the_last_bin():
    assert scores.calibration_error(np.array([1.0]), np.array([True])) == 0


@pytest.mark.parametrize(
    ("part", "whole", "low", "high"), [(0, 10, 0.0, 0.2775), (10, 10, 0.7225, 1.0), (50, 100, 0.4038, 0.5962)]
)
def test_an_interval_is_a_wilson_interval(part, whole, low, high):
    assert scores.wilson(part, whole) == pytest.approx((low, high), abs=1e-4)


@pytest.fixture
def segmented():
    """Count two images of classes a and b. A pixel of the first image has no class."""
    count = SegmenterCount(LABELS)
    count.add(np.array([[0, 0], [1, IGNORE_INDEX]], np.uint16), np.array([[0, 1], [1, 1]], np.uint8))
    count.add(np.array([[0, 1]], np.uint16), np.array([[0, 2]], np.uint8))
    return count.result()


def test_iou_covers_the_pixels_of_all_images(segmented):
    a, b, c, *rest = [each.iou for each in segmented.classes]
    assert (a, b, c) == (2 / 3, 1 / 3, 0)
    assert rest == [None] * 4


def test_the_mean_iou_covers_classes_that_occur_in_masks_or_predictions(segmented):
    assert segmented.miou == pytest.approx((2 / 3 + 1 / 3 + 0) / 3)


def test_accuracy_covers_pixels_with_a_class(segmented):
    assert segmented.pixel_accuracy == 3 / 5
    assert segmented.mean_accuracy == pytest.approx((2 / 3 + 1 / 2) / 2)


def test_the_interval_contains_the_mean_and_is_one_point_for_equal_images():
    count = SegmenterCount(LABELS)
    for _ in range(5):
        count.add(np.array([[0, 1, 1, 1]], np.uint16), np.array([[0, 1, 1, 0]], np.uint8))
    found = count.result()
    assert found.miou_interval == pytest.approx((found.miou, found.miou))


def test_the_interval_is_wider_for_images_that_differ():
    count = SegmenterCount(LABELS)
    for right in (4, 3, 2, 1, 0) * 4:
        truth = np.array([[0, 0, 1, 1]], np.uint16)
        answer = truth.copy()
        answer[0, right:] = 1 - answer[0, right:]
        count.add(truth, answer)
    found = count.result()
    low, high = found.miou_interval
    assert low < found.miou < high
    assert high - low > 0.1


def test_an_image_without_any_class_changes_nothing():
    count = SegmenterCount(LABELS)
    count.add(np.full((2, 2), IGNORE_INDEX, np.uint16), np.zeros((2, 2), np.uint8))
    assert math.isnan(count.result().miou)
