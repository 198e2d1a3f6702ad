"""The bill of materials that the image build writes."""

import json
import shutil
from importlib.metadata import version

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from tests.docker.test_scripts import run

pytestmark = pytest.mark.skipif(shutil.which("dpkg-query") is None, reason="Debian's dpkg-query is not installed")


def listed(path="") -> str:
    """Return the bill of materials of this environment, with distributions in another folder."""
    ran = run("sbom.py", PYTHONPATH=str(path))
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def component(text: str, name: str) -> dict:
    """Return the component of that name."""
    return next(each for each in json.loads(text)["components"] if each["name"] == name)


@pytest.fixture(scope="module")
def text() -> str:
    return listed()


@pytest.fixture
def installed(tmp_path):
    """Install a distribution with this metadata in a folder."""

    def install(*metadata: str, **files: str):
        folder = tmp_path / "made-1.0.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text("\n".join(["Metadata-Version: 2.4", "Name: made", "Version: 1.0", *metadata]))
        for name, content in files.items():
            (folder / f"{name}.json").write_text(content)
        return component(listed(tmp_path), "made")

    return install


def test_it_is_valid_cyclonedx(text):
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None


def test_it_has_the_python_packages_with_their_versions(text):
    assert component(text, "numpy")["purl"] == f"pkg:pypi/numpy@{version('numpy')}"


def test_it_has_the_packages_of_the_system(text):
    assert component(text, "dpkg")["purl"].startswith("pkg:deb/")


def test_it_is_about_the_service_itself(text):
    own = json.loads(text)["metadata"]["component"]
    assert (own["name"], own["type"]) == ("twins-serving", "application")


def test_two_builds_of_the_same_packages_have_the_same_one(text):
    assert listed() == text


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        (["License-Expression: MIT OR Apache-2.0", "License: other"], [{"expression": "MIT OR Apache-2.0"}]),
        (["Classifier: License :: OSI Approved :: MIT License"], [{"license": {"name": "MIT License"}}]),
        (["License: BSD-3-Clause"], [{"license": {"name": "BSD-3-Clause"}}]),
        (["License: UNKNOWN"], None),
        ([], None),
    ],
)
def test_a_licence_is_what_the_metadata_say(installed, metadata, expected):
    assert installed(*metadata).get("licenses") == expected


def test_the_hash_of_an_archive_is_listed_where_pip_recorded_it(installed):
    origin = {"url": "file:///made.whl", "archive_info": {"hashes": {"sha256": "0" * 64}}}
    assert installed(direct_url=json.dumps(origin))["hashes"] == [{"alg": "SHA-256", "content": "0" * 64}]
