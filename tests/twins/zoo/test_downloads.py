"""Downloads from a real server on the loopback interface: complete, interrupted, damaged, rejected."""

import hashlib
import os
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from huggingface_hub import constants

from tests.disk import small_disk
from twins.errors import WeightsUnavailable
from twins.zoo import downloads, hub, retry
from twins.zoo.models import ZOO, ModelReference, ade20k
from twins.zoo.sources import Url

CONTENT = os.urandom(3 * 2**20 + 7)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
NAME = f"weights-{SHA256[:8]}.pth"


class Site:
    """The behaviour of the server, and the requests so far."""

    def __init__(self) -> None:
        self.content, self.ranges, self.cut_after, self.takes_ranges = CONTENT, [], None, True
        self.redirect = None
        self.refusals, self.retry_after = [], None  # the statuses of the next answers
        self.stall = threading.Event()  # until which the body does not come, if `stalls` is set
        self.stalls = False


@pytest.fixture
def site():
    state = Site()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            wanted = self.headers.get("Range")
            state.ranges.append(wanted)
            if state.refusals:
                self.send_response(state.refusals.pop(0))
                if state.retry_after:
                    self.send_header("Retry-After", state.retry_after)
                return self.end_headers()
            if state.redirect:
                self.send_response(302)
                self.send_header("Location", state.redirect)
                return self.end_headers()
            start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and state.takes_ranges else 0
            if start >= len(state.content):
                self.send_response(416)
                return self.end_headers()
            body = state.content[start:]
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if state.stalls:
                return state.stall.wait()
            return self.wfile.write(body if state.cut_after is None else body[: state.cut_after])

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    state.url = f"http://127.0.0.1:{server.server_port}/{NAME}"
    yield state
    state.stall.set()
    server.shutdown()
    server.server_close()


@pytest.fixture(autouse=True)
def pauses(monkeypatch):
    """Return the pauses between the tries, which take no time."""
    taken = []
    monkeypatch.setattr(retry.time, "sleep", taken.append)
    return taken


@pytest.fixture
def model(site, monkeypatch, tmp_path):
    """Add a zoo entry whose weights are on the server, with an empty cache."""
    entry = ade20k("svt_small", "fpn", "a-b", 0, 0)
    monkeypatch.setitem(ZOO, "made_up", replace(entry, source=Url(site.url, SHA256[:8])))
    monkeypatch.setattr(constants, "HF_HOME", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    return ModelReference("made_up")


def test_a_file_is_downloaded_once(site, model, tmp_path):
    path = hub.fetch(model)
    assert path == tmp_path / "twins" / NAME
    assert path.read_bytes() == CONTENT
    assert hub.fetch(model) == path
    assert site.ranges == [None]


def test_an_interrupted_download_is_resumed(site, model):
    site.cut_after = 2**20
    path = hub.fetch(model)
    assert path.read_bytes() == CONTENT
    assert site.ranges == [None, f"bytes={2**20}-", f"bytes={2 * 2**20}-", f"bytes={3 * 2**20}-"]
    assert not path.with_name(path.name + ".part").exists()


def test_the_part_of_an_earlier_run_is_resumed(site, model, tmp_path):
    part = tmp_path / "twins" / f"{NAME}.part"
    part.parent.mkdir()
    part.write_bytes(CONTENT[:1000])
    assert hub.fetch(model).read_bytes() == CONTENT
    assert site.ranges == ["bytes=1000-"]


def test_a_complete_part_needs_no_further_download(site, model, tmp_path):
    part = tmp_path / "twins" / f"{NAME}.part"
    part.parent.mkdir()
    part.write_bytes(CONTENT)
    assert hub.fetch(model).read_bytes() == CONTENT


def test_a_server_without_ranges_starts_over(site, model, tmp_path):
    site.takes_ranges = False
    part = tmp_path / "twins" / f"{NAME}.part"
    part.parent.mkdir()
    part.write_bytes(b"x" * 1000)
    assert hub.fetch(model).read_bytes() == CONTENT


def test_a_server_that_sends_nothing_is_given_up(site, model, tmp_path):
    site.cut_after = 0
    with pytest.raises(WeightsUnavailable, match="the connection ended after 0 of"):
        hub.fetch(model)
    assert len(site.ranges) == retry.TRIES


def test_a_damaged_file_is_rejected_and_removed(site, model, tmp_path):
    site.content = CONTENT[:-1] + b"!"
    with pytest.raises(WeightsUnavailable, match=rf"should begin with {SHA256[:8]}"):
        hub.fetch(model)
    assert [path.suffix for path in (tmp_path / "twins").iterdir()] in ([], [".lock"])


def test_a_cached_file_that_was_damaged_is_named_and_downloaded_again_by_the_next_start(site, model):
    path = hub.fetch(model)
    path.write_bytes(CONTENT[1:])
    with pytest.raises(WeightsUnavailable, match="removed from the cache"):
        hub.fetch(model)
    assert hub.fetch(model).read_bytes() == CONTENT
    assert site.ranges == [None, None]


def test_offline_the_error_says_how_to_provide_the_file(site, model, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(WeightsUnavailable, match=rf"HF_HUB_OFFLINE is set.*\n.*--model made_up=PATH/{NAME}"):
        hub.fetch(model)
    assert site.ranges == []


def test_offline_a_cached_file_is_enough(model, monkeypatch):
    path = hub.fetch(model)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert hub.fetch(model) == path


def test_a_redirect_to_an_unsafe_address_is_rejected(site, model):
    site.redirect = "http://example.invalid/x"
    with pytest.raises(WeightsUnavailable, match="is not an https address"):
        hub.fetch(model)


def test_only_https_is_allowed():
    with pytest.raises(ValueError, match="is not an https address"):
        downloads.allowed("http://download.openmmlab.com/x.pth")
    assert downloads.allowed("https://download.openmmlab.com/x.pth")


def test_concurrent_downloads_download_a_file_once(site, model):
    paths = []
    threads = [threading.Thread(target=lambda: paths.append(hub.fetch(model))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(paths)) == 1
    assert site.ranges == [None]


# ---------------------------------------------------------------------- a site that is down, slow or refuses


def test_a_site_that_recovers_is_asked_again_after_longer_and_longer_pauses(site, model, pauses):
    site.refusals = [503, 500]
    assert hub.fetch(model).read_bytes() == CONTENT
    assert 1 <= pauses[0] < 2 <= pauses[1] < 4


@pytest.mark.parametrize(("asked", "waited"), [("7", 7.0), ("86400", retry.LONGEST_PAUSE_S)])
def test_the_pause_that_a_site_asks_for_is_kept_up_to_a_limit(site, model, pauses, asked, waited):
    site.refusals, site.retry_after = [503], asked
    assert hub.fetch(model).read_bytes() == CONTENT
    assert pauses == [waited]


def test_a_site_that_stays_down_is_asked_three_times(site, model, tmp_path):
    site.refusals = [502] * 10
    with pytest.raises(WeightsUnavailable, match="502"):
        hub.fetch(model)
    assert len(site.ranges) == retry.TRIES
    assert not list((tmp_path / "twins").glob("*.part"))


@pytest.mark.parametrize("status", [400, 403, 404, 429])
def test_a_refusal_is_not_tried_again(site, model, pauses, status):
    site.refusals = [status]
    with pytest.raises(WeightsUnavailable, match=str(status)):
        hub.fetch(model)
    assert pauses == []


def test_a_site_that_sends_nothing_any_more_is_given_up(site, model, monkeypatch):
    monkeypatch.setattr(downloads, "TIMEOUT_S", 0.1)
    site.stalls = True
    with pytest.raises(WeightsUnavailable, match="timed out"):
        hub.fetch(model)
    assert len(site.ranges) == retry.TRIES


def test_a_full_disk_is_reported_at_once_and_leaves_no_part(site, model, pauses, tmp_path):
    (tmp_path / "twins").mkdir()
    with small_disk(tmp_path / "twins", size="1m") as disk:
        with pytest.raises(WeightsUnavailable, match="No space left on device"):
            hub.fetch(model)
        assert [path.name for path in disk.iterdir()] == [f"{NAME}.lock"]
    assert pauses == []
