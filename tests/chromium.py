"""Run a real Chromium for a test, without a window."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Playwright, sync_playwright

PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
REQUIRED = "TESTS_NEED_CHROMIUM"
"""The environment variable with which tests fail where Chromium is missing, instead of being skipped."""
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]


def program(playwright: Playwright) -> str | None:
    """Return the path of an installed Chromium or Chrome, or None."""
    own = playwright.chromium.executable_path  # where `playwright install chromium` puts it
    return next(filter(None, map(shutil.which, PROGRAMS)), None) or (own if Path(own).exists() else None)


@contextmanager
def chromium() -> Iterator[Browser]:
    """Start a browser, or skip the tests that need one."""
    with sync_playwright() as playwright:
        found = program(playwright)
        if not found:
            missing = "Chromium is not installed; install Debian's `chromium` or run `playwright install chromium`"
            pytest.fail(missing) if os.environ.get(REQUIRED) else pytest.skip(missing)
        with playwright.chromium.launch(executable_path=found, args=FLAGS) as browser:
            yield browser
