"""Run a real Chromium for a test, without a window."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
MISSING = "Chromium is not installed; install Debian's `chromium` or run `playwright install chromium`"


def find() -> str | None:
    """Return the path of an installed Chromium or Chrome, or None."""
    installed = next(filter(None, map(shutil.which, PROGRAMS)), None)
    return installed or installed_by_playwright()


def installed_by_playwright() -> str | None:
    """Return the path of what `playwright install chromium` has downloaded, or None."""
    with sync_playwright() as playwright:
        path = playwright.chromium.executable_path
    return path if Path(path).exists() else None


@contextmanager
def chromium(program: str) -> Iterator[Browser]:
    """Start a browser."""
    with (
        sync_playwright() as playwright,
        playwright.chromium.launch(executable_path=program, args=FLAGS) as browser,
    ):
        yield browser
