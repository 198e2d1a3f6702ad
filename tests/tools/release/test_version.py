"""The version has one source, and no file has another one."""

import re
import shutil
import tomllib
from pathlib import Path

import pytest

import twins
from tools.documents import ROOT
from tools.release import source, version
from tools.release.version import CHANGELOG, COPIES, SOURCE

TRACKED = source.tracked()
OF_OTHERS = ("constraints.txt", "proto/released/", "docs/benchmarks", "docs/reliability", "docs/decisions/", "tests/")
"""Files with versions of other projects, or with those of one time."""
HISTORY = (CHANGELOG, "UPGRADING.md")


@pytest.fixture
def checkout(tmp_path) -> Path:
    """A copy of the files with the version."""
    for path in (SOURCE, CHANGELOG, *COPIES):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / path, tmp_path / path)
    return tmp_path


def dated(checkout: Path, current: str, date: str) -> None:
    """Give the newest version of the changelog a number and a date."""
    text = (checkout / CHANGELOG).read_text("utf-8")
    (checkout / CHANGELOG).write_text(
        re.sub(r"^## \[.*", f"## [{current}] - {date}", text, count=1, flags=re.MULTILINE)
    )


@pytest.mark.parametrize(("path", "before"), COPIES.items())
def test_a_copy_is_the_version(path, before):
    found = version.found(before, (ROOT / path).read_text("utf-8"))
    assert {match["version"] for match in found} == {twins.__version__}, "run `make version`"


@pytest.mark.parametrize("path", ["pyproject.toml", "client/pyproject.toml"])
def test_a_package_takes_its_version_from_its_module(path):
    read = tomllib.loads((ROOT / path).read_text("utf-8"))
    assert "version" not in read["project"]
    assert read["tool"]["setuptools"]["dynamic"]["version"]["attr"].endswith(".__version__")


def test_no_other_file_has_the_version():
    elsewhere = {}
    for path in TRACKED:
        if path.startswith(OF_OTHERS) or path in HISTORY:
            continue
        text = (ROOT / path).read_bytes().decode("utf-8", "replace")
        number = re.escape(twins.__version__)
        count = len(re.findall(rf"(?<![\d.>=]){number}(?![.\d])", text))
        if count != (path == SOURCE) + len(version.found(COPIES[path], text) if path in COPIES else ()):
            elsewhere[path] = count
    assert not elsewhere, "these need an entry in tools.release.version.COPIES"


def test_a_new_version_is_written_everywhere(checkout):
    version.write("1.20.3rc1", checkout)
    assert version.version(checkout) == "1.20.3rc1"
    for path, before in COPIES.items():
        text = (checkout / path).read_text("utf-8")
        assert {match["version"] for match in version.found(before, text)} == {"1.20.3rc1"}
    version.write(twins.__version__, checkout)
    assert all((checkout / path).read_bytes() == (ROOT / path).read_bytes() for path in (SOURCE, *COPIES))


def test_a_tag_of_another_version_is_refused(checkout):
    dated(checkout, twins.__version__, "2026-01-31")
    assert version.problem(f"v{twins.__version__}", checkout) is None
    assert "is not that of version" in version.problem("v99.0.0", checkout)


def test_a_tag_without_a_date_in_the_changelog_is_refused(checkout):
    dated(checkout, twins.__version__, "unreleased")
    assert "says 'unreleased' instead of the date" in version.problem(f"v{twins.__version__}", checkout)


def test_a_version_without_changes_cannot_be_released(checkout):
    version.write("99.0.0", checkout)
    with pytest.raises(ValueError, match="has no section of 99"):
        version.problem("v99.0.0", checkout)


def test_the_notes_of_a_release_are_its_section_of_the_changelog():
    _, notes = version.section(twins.__version__)
    assert notes.startswith("### Added")
    assert "## [" not in notes
