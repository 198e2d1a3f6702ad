"""Weights by name: from the package, the cache, or a small hub on the loopback interface."""

import hashlib
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
from filelock import FileLock
from huggingface_hub import constants

from tests import hub as fake
from tests.disk import small_disk
from twins.errors import UnknownModel, WeightsUnavailable
from twins.zoo import hub, hub_cache
from twins.zoo.models import DEFAULT_MODELS, ZOO, ModelReference

CONTENT = bytes(range(256)) * 400
PINNED = "twins_svt_small"  # to a full commit, with a known hash
UNPINNED = "twins_svt_base"

FETCH = """
import dataclasses, sys, time
from twins.zoo import hub
from twins.zoo.models import DEFAULT_MODELS, ZOO, ModelReference
from twins.errors import WeightsUnavailable
time.sleep = lambda _: None  # the client library waits longer and longer before it gives up
name, sha256 = sys.argv[1:]
entry = ZOO[name]
ZOO[name] = dataclasses.replace(entry, source=dataclasses.replace(entry.source, sha256=sha256 or None))
try:
    print(hub.fetch(ModelReference(name)))
except WeightsUnavailable as error:
    print(error)
    sys.exit(3)
"""


class Fetched(NamedTuple):
    """The result of a process that downloads weights."""

    exit_code: int
    text: str  # the file's path, or the refusal
    progress: str

    @property
    def content(self):
        return Path(self.text).read_bytes()


@pytest.fixture
def server():
    with fake.running(CONTENT) as running:
        yield running


@pytest.fixture
def fetch(server, tmp_path):
    """Return a function that downloads a model in a new process, with an empty home folder and these variables."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith("HF_") and not k.lower().endswith("_proxy")}
    home = {"HOME": str(tmp_path), "HF_HOME": str(tmp_path / "hf"), "PYTHONPATH": str(Path.cwd())}

    def run(name=PINNED, sha256=server.sha256, **variables):
        surroundings = {**clean, **home, "HF_ENDPOINT": server.url, **variables}
        done = subprocess.run(
            [sys.executable, "-c", FETCH, name, sha256], env=surroundings, capture_output=True, text=True, check=False
        )
        return Fetched(done.returncode, done.stdout.strip(), done.stderr)

    return run


@pytest.fixture
def dead_end():
    """Return the address of a port on which nothing listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}"


def test_a_name_gives_the_file_of_the_hub(fetch):
    assert fetch().content == CONTENT


def test_the_pinned_revision_is_requested(fetch, server):
    fetch()
    revision = ZOO[PINNED].source.revision
    assert set(server.requests) == {f"/timm/twins_svt_small.in1k/resolve/{revision}/model.safetensors"}


def test_without_a_known_revision_the_newest_is_requested(fetch, server):
    fetch(UNPINNED)
    assert set(server.requests) == {"/timm/twins_svt_base.in1k/resolve/main/model.safetensors"}


def test_the_file_is_in_the_cache_of_the_hub(fetch, tmp_path):
    assert Path(fetch().text).is_relative_to(tmp_path / "hf" / "hub" / "models--timm--twins_svt_small.in1k")


def test_a_download_shows_its_progress(fetch):
    assert "model.safetensors: 100%" in fetch(TQDM_POSITION="-1").progress  # as if it were a terminal


@pytest.mark.parametrize("name", [PINNED, UNPINNED, "twins_svt_large"])
def test_a_cached_file_needs_no_network(fetch, server, name):
    fetch(name)
    server.requests.clear()
    again = fetch(name, HF_HUB_OFFLINE="1")
    assert (again.content, server.requests) == (CONTENT, [])


@pytest.mark.parametrize("name", [PINNED, UNPINNED])
def test_a_cached_file_is_used_if_the_hub_is_unreachable(fetch, dead_end, name):
    fetch(name)
    assert fetch(name, HF_ENDPOINT=dead_end).content == CONTENT


def test_a_broken_download_is_resumed(fetch, server):
    server.break_after = 1000
    assert fetch().content == CONTENT


def test_a_hub_that_recovers_is_asked_again(fetch, server):
    server.refusals = [503, 500]
    assert fetch().content == CONTENT


@pytest.mark.parametrize(("status", "is_asked_again"), [(503, True), (403, False)])
def test_a_hub_that_is_down_is_asked_a_few_times_and_one_that_refuses_once(
    fetch, server, tmp_path, status, is_asked_again
):
    server.refuse_with = status
    assert fetch().exit_code == 3
    assert (1 < len(server.requests) < 10) is is_asked_again
    assert not list(tmp_path.rglob("*.incomplete"))


def test_a_file_with_another_hash_is_rejected(fetch):
    refused = fetch(sha256="0" * 64)
    assert (refused.exit_code, "its sha256 is" in refused.text) == (3, True)


def test_a_file_without_a_known_hash_is_accepted(fetch):
    assert fetch(UNPINNED, sha256="").content == CONTENT


def test_a_damaged_file_in_the_cache_is_rejected_and_downloaded_again_by_the_next_start(fetch, server):
    path = Path(fetch().text).resolve()
    other = path.with_name("f" * len(path.name))
    other.write_bytes(b"of another file")
    path.write_bytes(CONTENT[:-1] + b"!")
    assert "is damaged or was replaced" in (text := fetch().text)
    assert "removed from the cache, so that the next start downloads it again" in text
    assert (path.exists(), other.exists()) == (False, True)
    server.requests.clear()
    assert fetch().content == CONTENT
    assert server.requests
    assert fetch(HF_HUB_OFFLINE="1").content == CONTENT


def test_a_damaged_file_that_was_removed_is_missing_offline(fetch):
    Path(fetch().text).resolve().write_bytes(b"!")
    fetch(HF_HUB_OFFLINE="1")
    assert "Without a network, provide the file yourself" in fetch(HF_HUB_OFFLINE="1").text


def test_a_damaged_file_outside_the_caches_is_left_alone(fetch, tmp_path):
    link = Path(fetch().text)
    own = tmp_path / "own"
    own.write_bytes(b"!")
    link.unlink()
    link.symlink_to(own)
    assert "Delete it and download it again" in fetch().text
    assert own.exists()


# ---------------------------------------------------------------------- what a killed download leaves


@pytest.fixture
def leftover(fetch, tmp_path):
    """Return what a killed download of the file left in the cache, which does not have the file."""
    blob = Path(fetch().text).resolve()
    blob.unlink()
    part = blob.with_name(f"{blob.name}.0123abcd.incomplete")
    part.write_bytes(CONTENT[:1000])
    return part


def test_what_a_killed_download_left_is_removed_by_the_next_one(fetch, leftover):
    assert fetch().content == CONTENT
    assert not leftover.exists()


def test_what_another_process_downloads_is_not_removed(leftover, monkeypatch, tmp_path):
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hf" / "hub"))
    repo, blob = ZOO[PINNED].source.repo, leftover.name.partition(".")[0]
    lock = tmp_path / "hf" / "hub" / ".locks" / f"models--{repo.replace('/', '--')}" / f"{blob}.lock"
    assert lock.exists()
    with FileLock(lock):
        hub_cache.remove_leftovers(repo)
        assert leftover.exists()
    hub_cache.remove_leftovers(repo)
    assert not leftover.exists()


def test_a_full_disk_is_left_without_parts(fetch, tmp_path):
    (tmp_path / "hf").mkdir()
    with small_disk(tmp_path / "hf", size="64k") as disk:
        assert "No space left on device" in fetch().text
        assert [path for path in disk.glob("hub/models--*/blobs/*") if path.is_file()] == []


def test_the_token_is_sent(fetch, server):
    server.token = "hf_secret"
    assert fetch(HF_TOKEN="hf_secret").content == CONTENT


def test_a_proxy_is_used(fetch, server):
    fetch(HF_ENDPOINT="http://hub.example", HTTP_PROXY=server.url)
    assert {url.partition("/timm")[0] for url in server.requests} == {"http://hub.example"}


WAYS_TO_FAIL = {
    "offline": {"HF_HUB_OFFLINE": "1"},
    "no such protocol": {"HF_ENDPOINT": "gopher://127.0.0.1"},
    "no such address": {"HF_ENDPOINT": "http://[::bad"},
    "no route": {"HF_HOME": "/proc/nowhere"},
}


@pytest.fixture(params=[*WAYS_TO_FAIL, "unreachable", "unreachable proxy", 401, 403, 404, 410, 500, 503], ids=str)
def failed(request, fetch, server, dead_end):
    """Return a download that failed."""
    if isinstance(request.param, int):
        server.refuse_with = request.param
        return fetch()
    ways = {**WAYS_TO_FAIL, "unreachable": {"HF_ENDPOINT": dead_end}, "unreachable proxy": {"HTTP_PROXY": dead_end}}
    return fetch(**ways[request.param])


def test_a_failed_download_says_how_to_provide_the_file(failed):
    assert failed.exit_code == 3
    assert "--model twins_svt_small=PATH/model.safetensors" in failed.text


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_hub_that_denies_access_gives_advice_on_the_token(fetch, server, status):
    server.refuse_with = status
    assert "HF_TOKEN" in fetch().text


def test_the_token_is_never_shown(fetch, server):
    server.token = "hf_other"
    refused = fetch(HF_TOKEN="hf_secret")
    assert "hf_secret" not in refused.text + refused.progress


# without a hub


@pytest.fixture
def no_network(monkeypatch):
    """Fail if a connection is opened."""

    def fail(*_):
        raise AssertionError("a connection was tried")

    monkeypatch.setattr(socket.socket, "connect", fail)


def test_the_weights_that_ship_need_no_network(no_network):
    assert hub.fetch(ModelReference(DEFAULT_MODELS["classify"])).is_file()


def test_the_weights_that_ship_have_their_hash():
    found = hashlib.sha256(hub.fetch(ModelReference(DEFAULT_MODELS["classify"])).read_bytes()).hexdigest()
    assert found == ZOO[DEFAULT_MODELS["classify"]].source.sha256


def test_shipped_weights_that_were_replaced_are_rejected(tmp_path):
    (tmp_path / "weights").write_bytes(b"other")
    with pytest.raises(WeightsUnavailable, match="damaged or was replaced"):
        hub.check(tmp_path / "weights", "0" * 64)


def test_weights_that_disappear_before_they_are_checked_are_named(tmp_path):
    with pytest.raises(WeightsUnavailable, match="cannot read the weights"):
        hub.check(tmp_path / "weights", "0" * 64)


def test_an_own_file_is_used_unchanged(no_network, tmp_path):
    assert hub.fetch(ModelReference("twins_svt_base", tmp_path / "own.pth")) == tmp_path / "own.pth"


def test_an_unknown_name_is_not_requested(no_network):
    with pytest.raises(UnknownModel):
        hub.fetch(ModelReference("resnet50"))


# ---------------------------------------------------------------------- checkpoints of users on the hub

OWN = """
import sys
from twins.errors import TwinsError
from twins.zoo import hub
from twins.zoo.models import parse_reference

try:
    found = hub.resolve(parse_reference(sys.argv[1]))
    print(found.name, found.checkpoint, found.sha256)
except TwinsError as error:
    print(error)
    sys.exit(3)
"""


@pytest.fixture
def own(server, tmp_path):
    """Return a function that resolves a checkpoint on the hub in a new process."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith("HF_") and not k.lower().endswith("_proxy")}
    surroundings = {**clean, "HF_HOME": str(tmp_path / "hf"), "PYTHONPATH": str(Path.cwd()), "HF_ENDPOINT": server.url}
    server.missing = {"config.json"}

    def run(text, **variables):
        command = [sys.executable, "-c", OWN, text]
        return subprocess.run(command, env={**surroundings, **variables}, capture_output=True, text=True, check=False)

    return run


@pytest.mark.parametrize(
    ("text", "name", "paths"),
    [
        ("hf://me/pets", "pets", ["main/model.safetensors"]),
        ("mine=hf://me/pets", "mine", ["main/model.safetensors"]),
        ("mine=hf://me/pets@v2", "mine", ["v2/model.safetensors"]),
        ("mine=hf://me/pets/best/a.pth", "mine", ["main/best/a.pth"]),
    ],
)
def test_a_checkpoint_on_the_hub_is_downloaded_and_has_its_name(own, server, text, name, paths):
    found, path, sha256 = own(text).stdout.split()
    assert (found, sha256) == (name, server.sha256)
    assert Path(path).read_bytes() == CONTENT
    asked = dict.fromkeys(each.partition("/resolve/")[2] for each in server.requests)
    assert [each for each in asked if "config.json" not in each] == paths


def test_the_usual_names_are_tried_in_turn(own, server):
    server.missing |= {"model.safetensors"}
    assert own("hf://me/pets").stdout.split()[1].endswith("pytorch_model.bin")


def test_timms_configuration_is_downloaded_beside_a_checkpoint(own, server):
    server.missing = set()
    path = Path(own("hf://me/pets").stdout.split()[1])
    assert path.with_name("config.json").exists()


def test_a_repository_without_weights_says_how_to_name_a_file(own, server):
    server.missing |= {"model.safetensors", "pytorch_model.bin"}
    done = own("hf://me/pets")
    assert done.returncode == 3
    assert "has neither model.safetensors nor pytorch_model.bin; name the file, as in hf://me/pets/FILE" in done.stdout


def test_a_checkpoint_in_the_cache_needs_no_network(own):
    first = own("hf://me/pets").stdout
    assert own("hf://me/pets", HF_HUB_OFFLINE="1").stdout == first


def test_a_repository_that_cannot_be_reached_is_reported(own, server):
    server.refuse_with = 404
    done = own("hf://me/pets")
    assert done.returncode == 3
    assert "you have no access to it" in done.stdout


@pytest.mark.parametrize("text", ["hf://pets", "mine=hf://", "hf://me/pets@", "hf://me/pets/@main"])
def test_another_address_is_refused_with_the_syntax(own, text):
    done = own(text)
    assert done.returncode == 3
    assert "hf://ORG/REPO" in done.stdout
