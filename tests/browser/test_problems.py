"""Errors in plain words, and a service that asks for a key."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import httpx
import pytest
from playwright.sync_api import Page, expect

from tests.browser.page import CAT, ModelPage
from tests.browser.workers import stopped
from tests.server import Server, wait_until

KEY = "secret"
AUTHORISED = {"Authorization": f"Bearer {KEY}"}
LIMIT = 200_000  # bytes of an image
JPEG = CAT.read_bytes()
UNUSABLE = [
    ("notes.txt", b"no image", "not an image that the service can read"),
    ("cut.jpg", JPEG[: len(JPEG) // 2], "damaged"),
    ("large.jpg", JPEG + bytes(LIMIT), "too large"),
    ("huge.jpg", JPEG + bytes(20 * LIMIT), "too large"),  # the service hangs up before all of it is sent
]


@pytest.fixture(scope="module")
def server():
    limits = ("--max-queue", "1", "--max-image-bytes", str(LIMIT), "--max-body-bytes", str(10 * LIMIT))
    with Server("--model", "twins_svt_nano", "--api-key", KEY, *limits) as running:
        yield running


@pytest.fixture
def page(open_page) -> ModelPage:
    """Return the page after the key was given."""
    opened = open_page("/")
    give_key(opened, KEY)
    return ModelPage(opened)


def give_key(page: Page, key: str) -> None:
    """Enter a key."""
    page.get_by_label("API key").fill(key)
    page.keyboard.press("Enter")


@contextmanager
def busy(server: Server) -> Iterator[None]:
    """Let the service hold as many images as it takes, and answer them at the end."""
    with ThreadPoolExecutor(1) as threads:
        with stopped(server):
            waiting = threads.submit(httpx.post, f"{server.http}/classify", content=JPEG, headers=AUTHORISED)
            wait_until(lambda: server.metric("twins_in_flight_images") == 1, what="an image in flight")
            yield
        assert waiting.result().status_code == 200


@pytest.mark.parametrize(("name", "content", "reason"), UNUSABLE)
def test_a_file_that_cannot_be_used_is_refused_with_the_reason(page, name, content, reason):
    page.give({"name": name, "mimeType": "image/jpeg", "buffer": content})
    expect(page.error()).to_contain_text(reason)
    expect(page.page.locator("#list")).to_be_hidden()


def test_a_busy_service_is_tried_again(page, server):
    with busy(server):
        page.sample("A cat's face")
        expect(page.error()).to_contain_text("busy")
        expect(page.error()).to_contain_text("The service asks to wait")
    page.page.get_by_role("button", name="Try again").click()
    expect(page.headline()).to_contain_text("cat")
    expect(page.page.locator("#error")).to_be_hidden()


def test_a_service_that_is_away_is_named_and_tried_again(page):
    page.page.context.set_offline(True)
    page.give(CAT)
    expect(page.error()).to_contain_text("cannot be reached")
    page.page.context.set_offline(False)
    page.page.get_by_role("button", name="Try again").click()
    expect(page.headline()).to_contain_text("cat")


def test_a_wrong_key_is_asked_for_again(open_page):
    page = open_page("/")
    expect(page.get_by_role("alert")).to_contain_text("asks for an API key")
    give_key(page, "wrong")
    expect(page.get_by_role("alert")).to_contain_text("asks for an API key")
    give_key(page, KEY)
    expect(page.get_by_role("alert")).to_be_hidden()
    ModelPage(page)


def test_the_lines_for_programs_read_the_key_from_the_environment(page, tmp_path):
    page.sample("A cat's face")
    expect(page.headline()).to_contain_text("cat 9")
    assert "cat: 0.9" in page.run_python(TWINS_KEY=KEY)
    assert '"label":"cat"' in page.run_curl(tmp_path, TWINS_KEY=KEY)
    assert KEY not in page.page.locator("#details").inner_text()


def test_the_status_needs_no_key(open_page):
    page = open_page("/status")
    expect(page.get_by_role("status")).to_have_text("Ready")
    expect(page.get_by_role("row", name="twins_svt_nano")).to_be_visible()
