"""The pages as responses: who gets them, and what they allow."""

import re

import httpx
import pytest

BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"


@pytest.fixture(scope="module")
def client(server):
    with httpx.Client(base_url=server.http) as made:
        yield made


@pytest.mark.parametrize("accept", ["*/*", "application/json", "", "image/png", "text/html;q=0, */*"])
def test_clients_that_do_not_accept_html_get_json(client, accept):
    answer = client.get("/", headers={"Accept": accept})
    assert answer.headers["content-type"] == "application/json"
    assert answer.json()["models"] == "/models"
    assert answer.headers["vary"] == "Accept"


def test_browsers_get_the_page(client):
    answer = client.get("/", headers={"Accept": BROWSER})
    assert answer.headers["content-type"].startswith("text/html")
    assert answer.headers["vary"] == "Accept"


@pytest.mark.parametrize("path", ["/", "/status"])
def test_a_page_may_load_nothing_but_files_of_the_service(client, path):
    answer = client.get(path, headers={"Accept": BROWSER})
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    for address in re.findall(r'(?:src|href)="([^"#]+)"', answer.text):
        assert address.startswith("/")
        assert client.get(address).status_code == 200


@pytest.mark.parametrize("path", ["/", "/status"])
def test_a_page_has_no_scripts_or_styles_in_its_text(client, path):
    text = client.get(path, headers={"Accept": BROWSER}).text
    assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?! type=\"module\" src=)", text)
