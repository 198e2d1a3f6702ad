"""The packages: built from what git tracks, with all of their files and nothing else, and working when installed."""

import os
import subprocess
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest

import twins
from tests.programs import REQUIRED
from tools.documents import ROOT
from tools.release import installed, packages, signing, source
from tools.release.packages import BIN, CLIENT, SERVICE, Archives

EPOCH = 1_700_000_000
TRACKED = source.tracked()
MISSING = not (BIN / "twine").exists()

if MISSING and os.environ.get(REQUIRED):
    pytest.fail("run `make .venv/release/installed`", pytrace=False)
pytestmark = pytest.mark.skipif(MISSING, reason="run `make .venv/release/installed`")


@pytest.fixture(scope="module")
def tree(tmp_path_factory) -> Path:
    """The tracked files."""
    folder = tmp_path_factory.mktemp("tree")
    source.copy(folder)
    return folder


@pytest.fixture(scope="module")
def built(tree, tmp_path_factory) -> dict[str, Archives]:
    """The archives of both packages."""
    target = tmp_path_factory.mktemp("dist")
    return {package.name: packages.build(package, tree, target, EPOCH) for package in packages.PACKAGES}


@pytest.mark.parametrize("package", packages.PACKAGES, ids=lambda package: package.name)
def test_a_package_has_all_of_its_files_and_no_others(built, package):
    assert list(packages.problems(package, built[package.name], TRACKED, twins.__version__)) == []


@pytest.mark.parametrize(
    "name",
    [
        *("twins/py.typed", "service/py.typed", "twins/weights/twins_svt_nano.safetensors", "twins/labels/nano12.txt"),
        *(
            "service/pb/twins/v1/twins.proto",
            "service/web/static/page.js",
            "twins_serving-{}.dist-info/licenses/LICENSE",
        ),
    ],
)
def test_the_wheel_of_the_service_has_its_data(built, name):
    names = zipfile.ZipFile(built["twins_serving"].wheel).namelist()
    assert name.format(twins.__version__) in names


def test_descriptions_and_wheels_pass_the_programs_of_others(built):
    packages.check([path for archives in built.values() for path in (archives.sdist, archives.wheel)])


def test_the_same_files_give_the_same_bytes(tree, built, tmp_path):
    again = packages.build(CLIENT, tree, tmp_path, EPOCH)
    assert again.sdist.read_bytes() == built["twins_client"].sdist.read_bytes()
    assert again.wheel.read_bytes() == built["twins_client"].wheel.read_bytes()


def test_a_file_without_its_place_in_the_package_data_is_missed(built):
    more = [*TRACKED, "service/web/static/forgotten.css"]
    found = set(packages.problems(SERVICE, built["twins_serving"], more, twins.__version__))
    assert found == {
        f"{path.name} lacks service/web/static/forgotten.css" for path in vars(built["twins_serving"]).values()
    }


KEY = "-----BEGIN " + "PRIVATE KEY-----\n" + "A" * 64


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("twins_client/test_more.py", "", "has twins_client/test_more.py, which does not belong there"),
        ("twins_client/tests/test_more.py", "", "may never be released"),
        ("twins_client/__pycache__/more.cpython-311.pyc", "", "may never be released"),
        ("twins_client/.env", "", "may never be released"),
        ("twins_client/server.key", "", "may never be released"),
        ("twins_client/more.py", KEY, "has a key or a token in twins_client/more.py"),
        ("twins_client/more.py", "TOKEN = 'gh" + "p_" + "a" * 36 + "'", "has a key or a token"),
    ],
)
def test_a_file_that_may_not_be_released_is_found(built, tmp_path, name, text, said):
    sdist, wheel = (tmp_path / path.name for path in vars(built["twins_client"]).values())
    sdist.write_bytes(built["twins_client"].sdist.read_bytes())
    wheel.write_bytes(built["twins_client"].wheel.read_bytes())
    with zipfile.ZipFile(wheel, "a") as archive:
        archive.writestr(name, text)
    found = list(packages.problems(CLIENT, Archives(sdist, wheel), TRACKED, twins.__version__))
    assert any(said in text for text in found), found


def test_archives_of_another_version_or_of_too_many_bytes_are_found(built, monkeypatch):
    monkeypatch.setattr(packages, "MB", 1000)
    found = "\n".join(packages.problems(CLIENT, built["twins_client"], TRACKED, "99.0.0"))
    assert "does not have version 99.0.0" in found
    assert ".tar.gz has 20" in found or "MB, which is more than 0.2" in found


def test_the_sources_carry_no_time_and_no_name_of_this_machine(built):
    for archives in built.values():
        with tarfile.open(archives.sdist) as read:
            assert {(member.mtime, member.uname, member.uid) for member in read} == {(EPOCH, "", 0)}


def lend(environment: installed.Environment) -> None:
    """Let an environment import the dependencies in the environment of the tests, but not this project."""
    where = Path(sysconfig.get_path("purelib", vars={"base": str(environment.folder)}))
    (where / "lent.pth").write_text(sysconfig.get_path("purelib"))


@pytest.fixture
def lent(tmp_path) -> tuple[installed.Environment, installed.Environment]:
    """Two new environments with the dependencies of this one."""
    made = tuple(installed.new_environment(tmp_path / name) for name in ("service", "client"))
    for environment in made:
        lend(environment)
    return made


def test_the_installed_service_answers_curl_and_the_installed_client(built, lent):
    service, client = lent
    installed.install(service, built["twins_serving"].wheel, "--no-deps")
    installed.install(client, built["twins_client"].wheel, "--no-deps")
    where = service.run("python", "-c", "import service, twins; print(service.__file__, twins.__file__)").split()
    assert all(path.startswith(str(service.folder)) for path in where), "the checkout must not be found"
    installed.check(service, client, twins.__version__)


def test_another_version_than_the_installed_one_is_noticed(lent):
    service, client = lent
    (service.folder / "bin" / "twins").write_text("#!/bin/sh\necho 0.0.1\n")
    (service.folder / "bin" / "twins").chmod(0o755)
    with pytest.raises(RuntimeError, match=r"says that it is version 0\.0\.1"):
        installed.check(service, client, twins.__version__)


@pytest.mark.heavy
@pytest.mark.timeout(900)
def test_new_environments_with_the_pinned_versions_serve(built, tmp_path):
    installed.try_out(tmp_path, built["twins_serving"].wheel, built["twins_client"].wheel, twins.__version__)


def test_the_checksums_are_those_of_all_files(built):
    folder = built["twins_client"].sdist.parent
    assert len(signing.write_sums(folder).read_text().splitlines()) == 4
    subprocess.run(["sha256sum", "--check", "--quiet", "SHA256SUMS"], cwd=folder, check=True)


def test_the_licences_are_the_same():
    assert (ROOT / "client" / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()
