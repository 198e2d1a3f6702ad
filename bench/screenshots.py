"""Generate the screenshots of the documents with a real browser: `python -m bench.screenshots`.

It needs Chromium, as the tests of the pages do, and looks best with the font of Debian's package `fonts-inter`.
"""

import io

import httpx
from PIL import Image
from playwright.sync_api import Browser, Page, ViewportSize

from tests.chromium import MISSING, chromium, find
from tests.server import Server
from tools.documents import ROOT

CAT, FOLDER = ROOT / "examples" / "cat.jpg", ROOT / "docs" / "images"
SIZE = ViewportSize(width=1280, height=800)
PIXELS = 1.5  # of the screen, for each pixel of the page
QUALITY = 80  # of WebP
READINGS, PERIOD_MS = 140, 2000  # of the metrics by the status page
TASKS = ("classify", "classify", "classify", "segment", "classify", "detect")
"""The tasks of the requests that the plots show."""


def tried(browser: Browser, server: Server) -> bytes:
    """Return a screenshot of the page after a detection."""
    page = opened(browser, server, "/")
    page.get_by_role("radio", name="Detect").check()
    page.get_by_role("button", name="Two people").click()
    page.locator("#details").wait_for()
    box = page.locator("#view").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 0.78 * box["width"], box["y"] + 0.75 * box["height"])
    return page.screenshot(full_page=True)


def watched(browser: Browser, server: Server) -> bytes:
    """Return a screenshot of the status after five minutes of requests. The page's clock runs fast."""
    page = opened(browser, server, "/status")
    for i in range(READINGS):
        for _ in range(i % 7):
            httpx.post(f"{server.http}/{TASKS[i % len(TASKS)]}", content=CAT.read_bytes(), timeout=60)
        with page.expect_response("**/metrics"):
            page.clock.run_for(PERIOD_MS)
    return page.screenshot(full_page=True)


def opened(browser: Browser, server: Server, path: str) -> Page:
    """Return a new page whose clock can be set."""
    page = browser.new_page(viewport=SIZE, device_scale_factor=PIXELS)
    page.clock.install()
    page.goto(server.http + path)
    return page


def save(name: str, screenshot: bytes) -> None:
    """Save a screenshot in the folder of the documents' images."""
    Image.open(io.BytesIO(screenshot)).convert("RGB").save(FOLDER / f"{name}.webp", quality=QUALITY, method=6)


def main() -> None:
    """Write all screenshots."""
    program = find()
    if not program:
        raise SystemExit(MISSING)
    with Server("--http-port", "8000") as server, chromium(program) as browser:
        for task in ("classify", "segment", "detect"):
            httpx.post(f"{server.http}/{task}", content=CAT.read_bytes(), timeout=60)  # so that all models have run
        save("page", tried(browser, server))
        save("page-status", watched(browser, server))


if __name__ == "__main__":
    main()
