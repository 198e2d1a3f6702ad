"""The images of the loads. Small ones leave the cores to the service."""

import io

from PIL import Image

from tools.documents import ROOT

CAT = (ROOT / "examples" / "cat.jpg").read_bytes()


def resized(side: int) -> bytes:
    """Return the image of the cat as a square JPEG."""
    with Image.open(io.BytesIO(CAT)) as image:
        smaller = image.resize((side, side))
    written = io.BytesIO()
    smaller.save(written, "JPEG", quality=85)
    return written.getvalue()


SMALL = resized(64)
BROKEN = SMALL[: len(SMALL) // 2]
