"""Pages of other origins that call the service with fetch, in a browser that enforces its rules."""

from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from playwright.sync_api import Browser

from tests.server import Server
from tools.documents import ROOT

KEY = "a-key-of-this-test"
CLASSIFY = """async ([address, key]) => {
    const image = await (await fetch("/cat.jpg")).blob();
    const headers = {"Content-Type": "image/jpeg", "X-API-Key": key, "X-Request-ID": "from-a-page"};
    try {
        const answer = await fetch(address + "/v1/classify?top_k=1", {method: "POST", body: image, headers});
        const found = await answer.json();
        return [answer.status, found.predictions?.[0].label ?? found.code, answer.headers.get("X-Request-ID")];
    } catch (error) {
        return error.name;
    }
}"""
"""The call of a page. Its headers make the browser ask first."""


class Quiet(SimpleHTTPRequestHandler):
    """Serves files without a log."""

    def log_message(self, *_: object) -> None:
        """Log nothing."""


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    """Serve a page of another origin, and return its origin."""
    folder: Path = ROOT / "examples"
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture(scope="module")
def open_to_the_site(program: str, site: str) -> Iterator[Server]:
    """Start a service that allows the origin of the page."""
    with Server("--model", "twins_svt_nano", "--cors-origins", site, "--api-key", KEY) as running:
        yield running


def call(browser: Browser, site: str, server: Server, key: str = KEY) -> object:
    """Return what a page of the site gets from the service: status, result and id, or the error of its fetch."""
    with browser.new_context() as context:
        page = context.new_page()
        page.goto(f"{site}/cat.jpg")
        return page.evaluate(CLASSIFY, [server.http, key])


def test_a_page_of_an_allowed_origin_classifies_and_reads_the_headers(browser, site, open_to_the_site):
    assert call(browser, site, open_to_the_site) == [200, "cat", "from-a-page"]


def test_a_page_of_an_allowed_origin_reads_why_it_is_refused(browser, site, open_to_the_site):
    status, code, _ = call(browser, site, open_to_the_site, key="another")
    assert (status, code) == (401, "unauthenticated")


def test_by_default_the_browser_keeps_the_answer_from_the_page(browser, site, server):
    assert call(browser, site, server) == "TypeError"
