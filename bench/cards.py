"""Print the figures of the model cards: `python -m bench.cards DATA`.

DATA contains `photos/val/CLASS/*.jpg`, `masks/val` and `masks/test` with `images/*.jpg` and `masks/*.png`,
`scenes/test` with these and `instances.json`, and `others/test/*.jpg` with images of other things, as
`python -m examples.train others` makes them. Twenty more come from the packages scikit-image and scikit-learn, which
must be installed, as must pycocotools.
"""

import sys
from collections.abc import Collection, Iterator, Sequence
from importlib.resources import files
from pathlib import Path

import numpy as np

from service.cli import measures
from service.cli.images import LocalModel, open_model, run
from service.cli.report import percent, precision, span
from tools.markdown import table
from twins.evaluation import scores
from twins.evaluation.coco import DetectionScores
from twins.runtime.plan import Plan
from twins.tasks.classify import CLASSIFY, ClassifyOptions, Prediction
from twins.zoo.models import DEFAULT_MODELS

BATCH = 8
PARTS = ("photos/val", "masks/val", "masks/test", "scenes/test", "others/test")
"""The folders of the data."""
FREQUENT = 20  # objects of a class in scenes/test from which on its figures are more than chance
LOW = 0.7  # a score below it says that the classifier is not certain
UNKNOWN_IMAGES = {
    "skimage.data": (
        *("brick.png", "cell.png", "clock_motion.png", "coffee.png", "coins.png", "color.png", "grass.png"),
        *("gravel.png", "horse.png", "hubble_deep_field.jpg", "ihc.png", "microaneurysms.png", "moon.png"),
        *("motorcycle_left.png", "page.png", "retina.jpg", "rocket.jpg", "text.png"),
    ),
    "sklearn.datasets.images": ("china.jpg", "flower.jpg"),
}
"""Twenty images that show none of the classes, by package."""


def classes(found: scores.ClassificationScores) -> str:
    """Return the table of a classifier: one row per class."""
    rows = (
        (
            each.label,
            str(each.right),
            str(each.images),
            percent(each.top1),
            span(each.interval),
            f"{each.taken_for} {each.taken_for_images / each.images:.0%}" if each.taken_for else "",
        )
        for each in sorted(found.classes, key=lambda each: -each.top1)
    )
    return table(("class", "right", "images", "top-1 %", "95 % interval", "most often confused with"), rows)


def confusion(labels: Sequence[str], counts: Sequence[Sequence[int]]) -> str:
    """Return the confusion table: true classes as rows, predicted classes as columns."""
    rows = ((label, *(str(n) if n else "·" for n in row)) for label, row in zip(labels, counts, strict=True))
    return table(("", *labels), rows)


def overlaps(found: scores.SegmentationScores) -> str:
    """Return the table of a segmentation network: one row per class."""
    rows = ((each.label, percent(each.iou or 0), percent(each.accuracy or 0)) for each in found.classes)
    return table(("class", "IoU %", "found %"), rows)


def precisions(found: DetectionScores) -> str:
    """Return the table of a detector: one row per class."""
    rows = (
        (each.label, str(each.objects), *map(percent, (each.box, each.box50, each.mask, each.mask50)))
        for each in sorted(found.classes, key=lambda each: -each.objects)
    )
    return table(("class", "objects", "box AP %", "box AP50 %", "mask AP %", "mask AP50 %"), rows)


def outdoor_cats(local: LocalModel, data: Path) -> str:
    """Return how many of the cats in the segmentation data are classified as cats."""
    paths = [path for split in ("val", "test") for path in sorted((data / "masks" / split / "images").glob("cat_*"))]
    found = [prediction.label for prediction, _ in best(local, paths)]
    right = found.count("cat")
    return f"cats of masks-val and masks-test: {right} of {len(found)} ({span(scores.wilson(right, len(found)))} %)"


def best(local: LocalModel, paths: Sequence[Path]) -> Iterator[tuple[Prediction, Path]]:
    """Yield the best class of each image."""
    options = ClassifyOptions(top_k=1)
    for ran in run(list(paths), local, CLASSIFY, options):
        assert ran.output is not None, f"{ran.path}: {ran.error}"
        yield CLASSIFY.postprocess(ran.output, local.card, options).predictions[0], ran.path


def unknown_images(local: LocalModel) -> str:
    """Return the predictions for images without any of the classes, highest score first."""
    paths = [Path(str(files(package).joinpath(name))) for package, names in UNKNOWN_IMAGES.items() for name in names]
    found = sorted(best(local, paths), key=lambda pair: -pair[0].score)
    rows = [(path.name, prediction.label, f"{prediction.score:.2f}") for prediction, path in found]
    return table(("image", "predicted class", "score"), rows) + f"\n\n{low([each.score for each, _ in found])}"


def others(local: LocalModel, data: Path) -> str:
    """Return how often the score for a part of an image without any of the classes is low."""
    paths = sorted((data / "others" / "test").glob("*.jpg"))
    return "others/test: " + low([prediction.score for prediction, _ in best(local, paths)])


def low(values: Sequence[float]) -> str:
    """Return how many of the highest scores are low, and their median."""
    count = sum(score < LOW for score in values)
    interval = span(scores.wilson(count, len(values)))
    return f"score below {LOW} in {count} of {len(values)} ({interval} %), median score {np.median(values):.2f}"


def main(data: Path) -> None:
    """Print all figures."""
    with open_model(DEFAULT_MODELS["classify"], None, Plan("cpu"), batch=BATCH) as classifier:
        print_classifier(classifier, data)
    with open_model(DEFAULT_MODELS["detect"], None, Plan("cpu"), batch=1) as detector:
        frequent = print_detector(detector, data)
    with open_model(DEFAULT_MODELS["segment"], None, Plan("cpu"), batch=BATCH) as segmenter:
        print_segmenter(segmenter, data, frequent)


def print_classifier(classifier: LocalModel, data: Path) -> None:
    """Print the figures of the classifier."""
    found = measures.classifier(data / "photos/val", classifier, measures.How()).figures
    assert isinstance(found, scores.ClassificationScores)
    print(f"top-1 {percent(found.top1)} % ({span(found.top1_interval)}), top-5 {percent(found.top5)} %")
    print(f"mean per class {percent(found.mean_per_class)} %, calibration error {percent(found.calibration_error)} %\n")
    print(classes(found), confusion([each.name for each in classifier.card.labels], found.confusion), sep="\n\n")
    print(outdoor_cats(classifier, data), sep="\n\n")
    print(unknown_images(classifier), others(classifier, data), sep="\n\n", end="\n\n")


def print_segmenter(segmenter: LocalModel, data: Path, frequent: Collection[str]) -> None:
    """Print the figures of the segmentation network. `frequent` are the classes of scenes/test with many objects."""
    for part in ("masks/val", "masks/test", "scenes/test"):
        masks = measures.segmenter(data / part, segmenter, measures.How()).figures
        assert isinstance(masks, scores.SegmentationScores)
        print(f"{part}: mean IoU {percent(masks.miou)} % ({span(masks.miou_interval)}), {masks.images} images")
        print(overlaps(masks), confusion([each.name for each in segmenter.card.labels], masks.confusion), sep="\n\n")
    chosen = [each.iou for each in masks.classes if each.label in frequent and each.iou is not None]
    print(f"scenes/test: mean IoU of {', '.join(sorted(frequent))}: {percent(sum(chosen) / len(chosen))} %")


def print_detector(detector: LocalModel, data: Path) -> set[str]:
    """Print the figures of the detector. Return the classes with many objects."""
    found = measures.detector(data / "scenes/test", detector, measures.How()).figures
    assert isinstance(found, DetectionScores)
    assert found.mask is not None
    print(f"scenes/test: boxes {precision(found.box)}; masks {precision(found.mask)}; {found.images} images")
    print(precisions(found), end="\n\n")
    frequent = [each for each in found.classes if each.objects >= FREQUENT]
    boxes, masks = (
        sum(values) / len(frequent)
        for values in zip(*((each.box50, each.mask50 or 0.0) for each in frequent), strict=True)
    )
    names = {each.label for each in frequent}
    print(f"AP50 of {', '.join(sorted(names))}: boxes {percent(boxes)} %, masks {percent(masks)} %", end="\n\n")
    return names


def data_folder(arguments: Sequence[str]) -> Path:
    """Return the folder with the data. Exit with what is needed if there is none."""
    folder = Path(arguments[0]) if len(arguments) == 1 else None
    missing = [name for name in PARTS if folder is None or not (folder / name).is_dir()]
    if folder is None or missing:
        sys.exit(f"usage: python -m bench.cards DATA\n\n{__doc__}\nMissing folders of DATA: {', '.join(missing)}")
    return folder


if __name__ == "__main__":
    main(data_folder(sys.argv[1:]))
