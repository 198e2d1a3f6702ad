"""Each target over its seeds and a few thousand changes of them. `make fuzz` goes on for as long as one likes."""

import importlib.util
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.fuzz import campaign, finding
from tests.fuzz.target import SEEDS, TARGETS

pytestmark = pytest.mark.skipif(importlib.util.find_spec("atheris") is None, reason="atheris is not installed here")

SECONDS, AT_ONCE = 2, 2
SEED_BYTES = 200_000  # of all targets together


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A folder with the inputs and findings of every target."""
    path = tmp_path_factory.mktemp("fuzz")
    with ThreadPoolExecutor(AT_ONCE) as threads:
        list(threads.map(lambda name: campaign.run(name, SECONDS, path, ["-seed=1"]), TARGETS))
    return path


@pytest.mark.parametrize("name", TARGETS)
def test_untrusted_bytes_raise_none_but_the_errors_of_the_project(name, folder):
    described = [path.read_text() for path in (folder / name / "findings").glob("*.txt")]
    assert list((folder / name / "findings").iterdir()) == [], "\n".join(described)
    assert any((folder / name / "corpus").iterdir()), "no input reached anything"


def test_every_target_is_a_module_and_has_seeds():
    modules = {path.stem for path in (SEEDS.parent / "targets").glob("[a-z]*.py")}
    assert modules == set(TARGETS) == {path.name for path in SEEDS.iterdir()}


def test_the_seeds_are_small():
    assert sum(path.stat().st_size for path in SEEDS.rglob("*") if path.is_file()) < SEED_BYTES


def test_a_finding_keeps_the_shortest_input_of_its_place(tmp_path):
    for data in (b"long input", b"short", b"longer input"):
        try:
            raise ValueError("wrong")
        except ValueError as error:
            finding.save(error, data, tmp_path)
    (path,) = (each for each in tmp_path.iterdir() if each.suffix != ".txt")
    assert path.read_bytes() == b"short"
    assert "ValueError: wrong" in path.with_name(f"{path.name}.txt").read_text()
