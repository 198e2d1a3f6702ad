"""The Python packages of a release: how they are built, and what must be in them.

A package is built twice with the same bytes if the commit and the versions of the build's programs are the same.
"""

import gzip
import io
import os
import re
import subprocess
import tarfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from tools.documents import ROOT

BIN = ROOT / ".venv" / "release" / "bin"
"""The programs that build and check packages, which `make .venv/release/installed` installs."""

MB = 10**6

DESCRIBED = {"METADATA", "RECORD", "WHEEL", "top_level.txt", "licenses/LICENSE"}
"""What the folder `.dist-info` of every wheel contains."""

SOURCES = {"LICENSE", "PKG-INFO", "README.md", "pyproject.toml", "setup.cfg"}
"""What a source archive contains beside the packages and the folder `.egg-info`."""

NEVER = ("*.key", "*.pem", "*.env", "*/.*", "*__pycache__*", "*.pyc", "tests/*", "*/tests/*", "*.log", "*.egg-link")
"""Patterns of files that no archive may contain, whether they are tracked or not."""

SECRET = re.compile(
    rb"-----BEGIN [A-Z ]*PRIVATE KEY-----\n[\w+/=\n]{40}"
    rb"|\bAKIA[0-9A-Z]{16}\b|\bgh[pousr]_\w{36}\b|\bhf_[A-Za-z]{34}\b|\bpypi-[\w-]{60}"
)
"""Keys and tokens, whose forms are known."""


@dataclass(frozen=True)
class Package:
    """One package of the release."""

    name: str  # as in the file names of its archives
    folder: str  # with its pyproject.toml
    modules: tuple[str, ...]  # the folders with its modules
    most_mb: float  # the most that one archive may have
    described: frozenset[str] = frozenset()  # what its `.dist-info` has beside DESCRIBED
    sources: frozenset[str] = frozenset()  # what its source archive has beside SOURCES

    @property
    def egg(self) -> str:
        """Return the folder of metadata in its source archive."""
        return f"{self.name}.egg-info/"

    def files(self, paths: list[str]) -> set[str]:
        """Return those of the tracked files that are its modules and their data, relative to its folder."""
        prefix = "" if self.folder == "." else f"{self.folder}/"
        folders = tuple(f"{prefix}{name}/" for name in self.modules)
        return {path.removeprefix(prefix) for path in paths if path.startswith(folders)}


SERVICE = Package(
    *("twins_serving", ".", ("twins", "service"), 40),
    described=frozenset({"entry_points.txt"}),
    sources=frozenset({"CHANGELOG.md", "MANIFEST.in", "UPGRADING.md", "constraints.txt"}),
)
CLIENT = Package("twins_client", "client", ("twins_client",), 0.2)
PACKAGES = (SERVICE, CLIENT)


@dataclass(frozen=True)
class Archives:
    """The archives of a package."""

    sdist: Path
    wheel: Path


def build(package: Package, source: Path, target: Path, epoch: int) -> Archives:
    """Build a package from a folder with the tracked files: the source archive, and the wheel from that archive.

    `epoch` is the Unix time that the files in the archives get. Raises subprocess.CalledProcessError.
    """
    target.mkdir(parents=True, exist_ok=True)
    command = (BIN / "python", "-m", "build", "--no-isolation", "--outdir", target, source / package.folder)
    environ = {**os.environ, "SOURCE_DATE_EPOCH": str(epoch), "PYTHONPATH": ""}
    subprocess.run(command, env=environ, umask=0o022, check=True, capture_output=True)  # noqa: S603, our own files
    (sdist,), (wheel,) = (list(target.glob(f"{package.name}-{kind}")) for kind in ("*.tar.gz", "*.whl"))
    normalise(sdist, epoch)
    return Archives(sdist, wheel)


def normalise(sdist: Path, epoch: int) -> None:
    """Write a source archive again, sorted, with one time and without an owner."""
    with tarfile.open(sdist) as read:
        members = [(member, read.extractfile(member)) for member in sorted(read, key=lambda each: each.name)]
        made = io.BytesIO()
        with tarfile.open(fileobj=made, mode="w", format=tarfile.PAX_FORMAT) as archive:
            for member, content in members:
                member.mtime, member.uid, member.gid, member.uname, member.gname = epoch, 0, 0, "", ""
                member.pax_headers = {}
                archive.addfile(member, content)
    sdist.write_bytes(gzip.compress(made.getvalue(), mtime=epoch))


def content(archive: Path) -> dict[str, bytes]:
    """Return every file of a wheel or a source archive; the paths of the latter without their first folder."""
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as read:
            return {name: read.read(name) for name in read.namelist()}
    with tarfile.open(archive) as read:
        files = [member for member in read if not member.isdir()]
        return {member.name.partition("/")[2]: opened(read, member) for member in files}


def opened(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    """Return the content of a member. A link has none, and is found as an empty file."""
    found = archive.extractfile(member) if member.isfile() else None
    return found.read() if found else b""


def problems(package: Package, archives: Archives, paths: list[str], version: str) -> Iterator[str]:
    """Yield what is wrong with the archives of a package. `paths` are all tracked files."""
    files = package.files(paths)
    info = f"{package.name}-{version}.dist-info/"
    expected = {
        archives.wheel: files | {info + name for name in DESCRIBED | package.described},
        archives.sdist: files | SOURCES | package.sources,
    }
    for archive, wanted in expected.items():
        inside = content(archive)
        names = {name for name in inside if archive == archives.wheel or not name.startswith(package.egg)}
        yield from (f"{archive.name} lacks {name}" for name in sorted(wanted - names))
        yield from (f"{archive.name} has {name}, which does not belong there" for name in sorted(names - wanted))
        yield from wrong(archive, inside, package, version)


def wrong(archive: Path, inside: dict[str, bytes], package: Package, version: str) -> Iterator[str]:
    """Yield what is wrong with an archive, whatever the project consists of."""
    for name, text in inside.items():
        if any(fnmatch(f"/{name}", f"*/{pattern}") or fnmatch(name, pattern) for pattern in NEVER):
            yield f"{archive.name} has {name}, which may never be released"
        if SECRET.search(text):
            yield f"{archive.name} has a key or a token in {name}"
    size = archive.stat().st_size
    if size > package.most_mb * MB:
        yield f"{archive.name} has {size / MB:.1f} MB, which is more than {package.most_mb:g}"
    metadata = next(text for name, text in inside.items() if name.endswith(("/METADATA", "PKG-INFO")))
    if f"\nVersion: {version}\n".encode() not in metadata:
        yield f"{archive.name} does not have version {version}"


def check(archives: list[Path]) -> None:
    """Check descriptions and wheels by the programs that others use. Raises subprocess.CalledProcessError."""
    wheels = [path for path in archives if path.suffix == ".whl"]
    # W009: the service has two packages on purpose, the library and the server
    for command in (
        (BIN / "twine", "check", "--strict", *archives),
        (BIN / "check-wheel-contents", "--ignore", "W009", *wheels),
    ):
        subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603, our own files
