"""Generate the images of the documents with the models that ship: `python -m bench.pictures`.

The gallery needs the packages scikit-image and matplotlib, which have the photographs in `PHOTOGRAPHS`.
"""

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from service.cli.images import open_model, run
from tools.documents import ROOT
from twins.card import Card
from twins.images.decode import DecodedImage
from twins.render import RENDERERS
from twins.render.renderer import RenderInput
from twins.runtime.plan import Plan
from twins.tasks.classify import CLASSIFY, ClassifyOptions, Prediction
from twins.tasks.detect import DETECT, DetectOptions
from twins.tasks.options import Options
from twins.tasks.sample import Output
from twins.tasks.segment import SEGMENT, SegmentOptions
from twins.tasks.task import AnyTask
from twins.zoo.models import DEFAULT_MODELS

EXAMPLES, FOLDER = ROOT / "examples", ROOT / "docs" / "images"
GALLERY = FOLDER / "gallery"
CAT, LAWN = EXAMPLES / "cat.jpg", EXAMPLES / "lawn.jpg"
PHOTOGRAPHS = {
    "skimage.data": (
        *("astronaut.png", "brick.png", "camera.png", "coffee.png", "coins.png", "hubble_deep_field.jpg"),
        *("motorcycle_left.png", "retina.jpg", "rocket.jpg"),
    ),
    "matplotlib.mpl-data.sample_data": ("grace_hopper.jpg",),
}
"""Photographs by package. All are in the public domain or under CC0, as the packages say."""
LONG_SIDE, HEIGHT = 450, 240  # pixels; of an image of its own, and of those beside each other in the gallery
PANEL, LINE, BAR = 230, 44, 200  # pixels: width beside the image, height of a class, length of a bar for score 1
TEXT_COLOUR, BAR_COLOUR, BACKGROUND = "#1f2328", "#2f81f7", "#ffffff"
QUALITY = 88  # of a JPEG of the gallery


@dataclass(frozen=True)
class Kind:
    """A task whose answers are drawn over the image."""

    task: AnyTask
    options: Options


MASK, OBJECTS = Kind(SEGMENT, SegmentOptions()), Kind(DETECT, DetectOptions(threshold=0.5))


def classified(paths: Sequence[Path]) -> list[Image.Image]:
    """Return each image with its five best classes beside it."""
    options = ClassifyOptions(top_k=5)
    return [
        with_predictions(image, CLASSIFY.postprocess(output, card, options).predictions)
        for output, card, image in answers(paths, Kind(CLASSIFY, options))
    ]


def overlaid(paths: Sequence[Path], kind: Kind) -> list[Image.Image]:
    """Return each image as the service returns it in the format overlay."""
    render = RENDERERS[kind.task.name]["overlay"].render
    found = (
        render(RenderInput(kind.task.postprocess(output, card, kind.options), card, kind.options, image))
        for output, card, image in answers(paths, kind)
    )
    return [shrunk(Image.open(io.BytesIO(rendered.content))) for rendered in found]


def answers(paths: Sequence[Path], kind: Kind) -> Iterator[tuple[Output, Card, DecodedImage]]:
    """Yield the output of the model that ships for each image, with the card of the model and the image."""
    with open_model(DEFAULT_MODELS[kind.task.name], None, Plan("cpu"), batch=1) as local:
        for ran in run(paths, local, kind.task, kind.options, keep_image=True):
            assert ran.output is not None, f"{ran.path}: {ran.error}"
            assert ran.image is not None
            yield ran.output, local.card, ran.image


def with_predictions(image: Image.Image, predictions: Sequence[Prediction]) -> Image.Image:
    """Return the image, reduced, with the predicted classes beside it."""
    small = shrunk(image)
    sheet = Image.new("RGB", (small.width + PANEL, small.height), BACKGROUND)
    sheet.paste(small)
    draw = ImageDraw.Draw(sheet)
    for i, prediction in enumerate(predictions):
        write(draw, prediction, small.width + 15, 40 + i * LINE)
    return sheet


def write(draw: ImageDraw.ImageDraw, prediction: Prediction, left: int, top: int) -> None:
    """Draw one class: its name and score, and a bar below them."""
    font = ImageFont.load_default(15)
    draw.text((left, top), prediction.label, TEXT_COLOUR, font)
    draw.text((left + BAR, top), f"{prediction.score:.3f}", TEXT_COLOUR, font, anchor="ra")
    draw.rectangle((left, top + 21, left + max(1, round(prediction.score * BAR)), top + 29), BAR_COLOUR)


def shrunk(image: Image.Image) -> Image.Image:
    """Return the image, reduced to the size of the documents."""
    image = image.convert("RGB")
    image.thumbnail((LONG_SIDE, LONG_SIDE))
    return image


def side_by_side(images: Sequence[Image.Image]) -> Image.Image:
    """Return the images in a line, at the same height."""
    scaled = [image.resize((round(image.width * HEIGHT / image.height), HEIGHT)) for image in images]
    sheet = Image.new("RGB", (sum(image.width for image in scaled), HEIGHT), BACKGROUND)
    left = 0
    for image in scaled:
        sheet.paste(image, (left, 0))
        left += image.width
    return sheet


def photographs() -> list[Path]:
    """Return the photographs of the gallery."""
    found = [Path(str(files(package) / name)) for package, names in PHOTOGRAPHS.items() for name in names]
    return [CAT, LAWN, *found]


def main() -> None:
    """Write all images."""
    GALLERY.mkdir(parents=True, exist_ok=True)
    paths = photographs()
    classes, masks, objects = classified(paths), overlaid(paths, MASK), overlaid(paths, OBJECTS)
    for path, *sheets in zip(paths, classes, masks, objects, strict=True):
        side_by_side(sheets).save(GALLERY / f"{path.stem}.jpg", quality=QUALITY, optimize=True)
    classes[paths.index(CAT)].save(FOLDER / "classify.png", optimize=True)
    masks[paths.index(CAT)].save(FOLDER / "segment.png", optimize=True)
    for path in (CAT, LAWN):
        objects[paths.index(path)].save(FOLDER / f"detect-{path.stem}.png", optimize=True)


if __name__ == "__main__":
    main()
