"""The pages in a real browser, and what they must never do."""

import os
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.page import ModelPage
from tests.chromium import MISSING, chromium, find
from tests.server import TIMEOUT_S, Server

expect.set_options(timeout=TIMEOUT_S * 1000 / 2)


REQUIRED = "TESTS_NEED_CHROMIUM"
"""The environment variable with which the tests fail where Chromium is missing, instead of being skipped."""


@pytest.fixture(scope="package")
def program() -> str:
    """Return the path of the browser, or skip the test."""
    found = find()
    if not found:
        pytest.fail(MISSING) if os.environ.get(REQUIRED) else pytest.skip(MISSING)
    return found


@pytest.fixture(scope="package")
def server(program: str) -> Iterator[Server]:
    """Start one service with the models that ship."""
    with Server() as running:
        yield running


@pytest.fixture(scope="module")
def browser(program: str) -> Iterator[Browser]:
    """Start one browser for a module. It ends before others run, since its event loop is that of the thread."""
    with chromium(program) as started:
        yield started


@pytest.fixture
def open_page(browser: Browser, server: Server) -> Iterator[Callable[..., Page]]:
    """Return a function that opens a path in a new context with options such as `color_scheme`.

    At the end, no page may have loaded anything from elsewhere, or have had an error in its scripts.
    """
    contexts, complaints = [], []

    def opened(path: str = "/", *, clock: bool = False, **options: object) -> Page:
        context = browser.new_context(reduced_motion="reduce", **options)
        contexts.append(context)
        page = context.new_page()
        if clock:
            page.clock.install()  # `page.clock.run_for` is then a wait that takes no time
        page.set_default_timeout(TIMEOUT_S * 1000 / 2)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda message: complaints.append(message.text) if violates(message.text) else None)
        page.on(
            "request", lambda request: None if is_local(request.url, server.http) else complaints.append(request.url)
        )
        page.goto(server.http + path)
        return page

    yield opened
    for context in contexts:
        context.close()
    assert not complaints


def violates(text: str) -> bool:
    """Return whether the console reports something that the Content-Security-Policy forbids."""
    return "Content Security Policy" in text


def is_local(url: str, http: str) -> bool:
    """Return whether a request goes to the service, or to nowhere."""
    return url.startswith((f"{http}/", "blob:", "data:"))


@pytest.fixture
def page(open_page) -> ModelPage:
    """Return the page on which a model is tried."""
    return ModelPage(open_page("/"))
