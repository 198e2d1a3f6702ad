"""Generate the images of the documents with the models that ship: `python -m bench.document_images`.

The two failures need scikit-image, for its images `rocket` (SpaceX, public domain) and `coffee` (Rachel Michetti, CC0).
"""

import io
from importlib.resources import files
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from service.cli.images import open_model, run
from tools.documents import ROOT
from twins.render import RENDERERS
from twins.render.renderer import RenderInput
from twins.runtime.plan import Plan
from twins.tasks.classify import CLASSIFY, ClassifyOptions, Prediction
from twins.tasks.segment import SEGMENT, SegmentOptions
from twins.zoo.models import DEFAULT_MODELS

CAT = ROOT / "examples" / "cat.jpg"
FOLDER = ROOT / "docs" / "images"
LONG_SIDE = 450  # pixels
PANEL, LINE, BAR = 230, 44, 200  # pixels: width beside the image, height of a class, length of a bar for score 1
TEXT_COLOUR, BAR_COLOUR, BACKGROUND = "#1f2328", "#2f81f7", "#ffffff"


def classified(image_path: Path) -> Image.Image:
    """Return the image with its five best classes beside it."""
    options = ClassifyOptions(top_k=5)
    with open_model(DEFAULT_MODELS["classify"], None, Plan("cpu"), batch=1) as local:
        (ran,) = run([image_path], local, CLASSIFY, options, keep_image=True)
    assert ran.output is not None
    assert ran.image is not None
    image = shrunk(ran.image)
    sheet = Image.new("RGB", (image.width + PANEL, image.height), BACKGROUND)
    sheet.paste(image)
    draw = ImageDraw.Draw(sheet)
    for i, prediction in enumerate(CLASSIFY.postprocess(ran.output, local.card, options).predictions):
        write(draw, prediction, image.width + 15, 40 + i * LINE)
    return sheet


def write(draw: ImageDraw.ImageDraw, prediction: Prediction, left: int, top: int) -> None:
    """Draw one class: its name and score, and a bar below them."""
    font = ImageFont.load_default(15)
    draw.text((left, top), prediction.label, TEXT_COLOUR, font)
    draw.text((left + BAR, top), f"{prediction.score:.3f}", TEXT_COLOUR, font, anchor="ra")
    draw.rectangle((left, top + 21, left + max(1, round(prediction.score * BAR)), top + 29), BAR_COLOUR)


def overlaid(image_path: Path) -> Image.Image:
    """Return the image with its mask as an overlay, as `/segment` returns it."""
    options = SegmentOptions()
    with open_model(DEFAULT_MODELS["segment"], None, Plan("cpu"), batch=1) as local:
        (ran,) = run([image_path], local, SEGMENT, options, keep_image=True)
    assert ran.output is not None
    found = SEGMENT.postprocess(ran.output, local.card, options)
    rendered = RENDERERS["segment"]["overlay"].render(RenderInput(found, local.card, options, ran.image))
    return shrunk(Image.open(io.BytesIO(rendered.content)))


def shrunk(image: Image.Image) -> Image.Image:
    """Return the image, reduced to the size of the documents."""
    image = image.convert("RGB")
    image.thumbnail((LONG_SIDE, LONG_SIDE))
    return image


def main() -> None:
    """Write all images."""
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
