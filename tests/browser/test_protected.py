"""The pages of a service that protects its metrics, and the page of its interface."""

import pytest
from playwright.sync_api import expect

from tests.server import Server

KEY = "a-key-of-this-test"


@pytest.fixture(scope="module")
def server():
    with Server("--model", "twins_svt_nano", "--api-key", KEY, "--protect-metrics") as running:
        yield running


def test_the_status_asks_for_a_key_if_the_metrics_need_one(open_page):
    page = open_page("/status")
    expect(page.get_by_role("status")).to_have_text("Ready")
    page.get_by_label("API key").fill(KEY)
    page.keyboard.press("Enter")
    expect(page.get_by_role("row", name="twins_svt_nano classify")).to_be_visible()


def test_the_page_of_the_interface_lists_it_under_its_policy(open_page):
    page = open_page("/docs")
    expect(page.get_by_role("heading", name="Twins")).to_be_visible()
    page.locator(".opblock-summary", has_text="classify").first.click()
    expect(page.locator(".opblock-body").first).to_be_visible()
