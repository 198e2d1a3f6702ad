"""The documents' images, made by the models that ship: `python -m bench.pictures`.

Of failures where scikit-image is installed: its `rocket` (SpaceX, public domain) and `coffee` (Rachel Michetti, CC0).
"""

import io
from importlib.resources import files
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from service.cli.images import open_runner, run
from tools.documents import ROOT
from twins.render.formats import RenderOptions
from twins.tasks.classify import CLASSIFY, ClassifyOptions, Prediction
from twins.tasks.segment import SEGMENT, SegmentOptions
from twins.zoo.models import DEFAULT_MODELS

CAT = ROOT / "examples" / "cat.jpg"
FOLDER = ROOT / "docs" / "images"
LARGEST = 450  # pixels of a photo's long side
PANEL, LINE, BAR = 230, 44, 200  # pixels: the width beside the photo, a class's height, a bar's length at a score of 1
INK, BARS, PAPER = "#1f2328", "#2f81f7", "#ffffff"


def classified(photo: Path) -> Image.Image:
    """The photo, and beside it its five best classes."""
    options = ClassifyOptions(top_k=5)
    runner = open_runner(DEFAULT_MODELS["classify"], None, "cpu")
    (ran,) = run([photo], runner, options, 1, keep=True)
    assert ran.output is not None
    assert ran.image is not None
    image = shrunk(ran.image)
    sheet = Image.new("RGB", (image.width + PANEL, image.height), PAPER)
    sheet.paste(image)
    draw = ImageDraw.Draw(sheet)
    for i, prediction in enumerate(CLASSIFY.postprocess(ran.output, runner.card, options).predictions):
        write(draw, prediction, image.width + 15, 40 + i * LINE)
    return sheet


def write(draw: ImageDraw.ImageDraw, prediction: Prediction, left: int, top: int) -> None:
    """One class: its name and score, and a bar below."""
    font = ImageFont.load_default(15)
    draw.text((left, top), prediction.label, INK, font)
    draw.text((left + BAR, top), f"{prediction.score:.3f}", INK, font, anchor="ra")
    draw.rectangle((left, top + 21, left + max(1, round(prediction.score * BAR)), top + 29), BARS)


def overlaid(photo: Path) -> Image.Image:
    """The photo under its mask, as `/segment` makes it."""
    options = SegmentOptions()
    runner = open_runner(DEFAULT_MODELS["segment"], None, "cpu")
    (ran,) = run([photo], runner, options, 1, keep=True)
    assert ran.output is not None
    found = SEGMENT.postprocess(ran.output, runner.card, options)
    return shrunk(Image.open(io.BytesIO(RenderOptions("overlay").render(found, runner.card, ran.image).content)))


def shrunk(image: Image.Image) -> Image.Image:
    """As large as a document needs it."""
    image = image.convert("RGB")
    image.thumbnail((LARGEST, LARGEST))
    return image


def main() -> None:
    """Writes all that can be had."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    classified(CAT).save(FOLDER / "classify.png", optimize=True)
    overlaid(CAT).save(FOLDER / "overlay.png", optimize=True)
    try:
        known = files("skimage.data")
    except ModuleNotFoundError:
        return
    classified(Path(str(known / "rocket.jpg"))).save(FOLDER / "failure-classify.png", optimize=True)
    overlaid(Path(str(known / "coffee.png"))).save(FOLDER / "failure-overlay.png", optimize=True)


if __name__ == "__main__":
    main()
