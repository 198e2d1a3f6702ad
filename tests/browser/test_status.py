"""The page on which the service is watched."""

import re

import httpx
import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.page import CAT
from tests.server import Server

IMAGES, MODEL = 7, "twins_svt_nano"


@pytest.fixture
def page(open_page) -> Page:
    """Return the page after its first reading."""
    page = open_page("/status", clock=True)
    expect(page.get_by_role("status")).to_have_text("Ready")
    return page


def plot(page: Page, title: str) -> Locator:
    """Return a plot by its title. Its name says in words what it shows."""
    return page.get_by_role("region", name=title).get_by_role("img")


def read_again(page: Page) -> None:
    """Let the page read the metrics again."""
    with page.expect_response("**/metrics"):
        page.clock.run_for(2000)


def send(page: Page, server: Server, content: bytes) -> None:
    """Send images between two readings."""
    read_again(page)
    for _ in range(IMAGES):
        httpx.post(f"{server.http}/classify", content=content, timeout=60)
    read_again(page)


def test_workers_and_models_are_listed(page):
    expect(page.locator("#facts")).to_contain_text("1 of 1 workers ready")
    expect(page.get_by_role("row", name=re.compile(r"worker-0 ready .* MiB 0"))).to_be_visible()
    expect(page.get_by_role("row", name=f"{MODEL} classify OpenVINO")).to_be_visible()


def test_rates_and_times_of_the_last_minutes_are_plotted(page, server):
    answered = server.metric("twins_images_total", code="ok", model=MODEL)
    send(page, server, CAT.read_bytes())
    expect(plot(page, "Images answered")).to_have_attribute("aria-label", re.compile(r"now (0\.[1-9]|[1-9])"))
    expect(plot(page, "Time of a request")).to_have_attribute("aria-label", re.compile(r"median now [\d.,]+ ms"))
    expect(plot(page, "Images in a batch")).to_have_attribute("aria-label", re.compile("mean now 1"))
    drawn = plot(page, "Images answered").locator("path.first")
    expect(drawn).to_have_attribute("d", re.compile(r"^M[\d.]+,[\d.]+(L[\d.]+,[\d.]+)+$"))
    expect(page.get_by_role("row", name=f"{MODEL} classify OpenVINO {answered + IMAGES:.0f}")).to_be_visible()


def test_failed_requests_have_a_plot_of_their_own(page, server):
    send(page, server, b"no image")
    failed = plot(page, "Requests refused or failed")
    expect(failed).to_have_attribute("aria-label", re.compile(r"now (0\.[1-9]|[1-9])"))


def test_a_service_that_is_away_is_named_and_found_again(page):
    page.context.set_offline(True)
    page.clock.run_for(2000)
    expect(page.get_by_role("status")).to_have_text("Not reachable")
    page.context.set_offline(False)
    read_again(page)
    expect(page.get_by_role("status")).to_have_text("Ready")


def test_nothing_is_read_while_the_plots_pause(page):
    requests = []
    page.get_by_role("button", name="Pause").click()
    page.on("request", lambda request: requests.append(request.url))
    page.clock.run_for(60_000)
    assert not requests
    with page.expect_response("**/metrics"):
        page.get_by_role("button", name="Go on").click()
