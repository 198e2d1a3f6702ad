"""The version of the project and its copies in other files: `python -m tools.release.version [VERSION] [--tag TAG]`.

The version is written in `twins/__init__.py`. The client, the image and the documents have copies, which this program
writes. With a version as argument, this one becomes the version of the project. With `--tag`, nothing is written: the
program fails unless the tag is that of this version, and the changelog has the date of its release.
"""

import argparse
import re
import sys
from pathlib import Path

from tools.documents import ROOT

SOURCE = "twins/__init__.py"
CHANGELOG = "CHANGELOG.md"
PATTERN = r"\d+\.\d+\.\d+(?:(?:a|b|rc)\d+)?"
IMAGE = r"\btwins-serving:"

COPIES = {
    "client/twins_client/__init__.py": r'^__version__ = "',
    "docker/Dockerfile": r'org\.opencontainers\.image\.version="',
    "deploy/helm/Chart.yaml": r"^(?:version|appVersion): ",
    "deploy/kserve/servingruntime.yaml": IMAGE,
    "docker-compose.yml": IMAGE,
    "docker-compose.cpu.yml": IMAGE,
    ".env.example": IMAGE,
    "docs/operations.md": IMAGE,
    "docs/security.md": IMAGE,
    "docs/clients.md": r"^\|[^|]*twins-client\b[^|]*\| ",
}
"""The files with copies, each with a pattern of what stands before a copy."""


def found(before: str, text: str) -> list[re.Match[str]]:
    """Return the versions in a text that stand behind a pattern."""
    return list(re.finditer(rf"(?P<before>{before})(?P<version>{PATTERN})", text, re.MULTILINE))


def version(root: Path = ROOT) -> str:
    """Return the version of the project."""
    (match,) = found('^__version__ = "', (root / SOURCE).read_text("utf-8"))
    return match["version"]


def written(path: str, before: str, current: str, root: Path = ROOT) -> str:
    """Return the text of a file in which all copies are this version."""
    text = (root / path).read_text("utf-8")
    return re.sub(rf"({before}){PATTERN}", rf"\g<1>{current}", text, flags=re.MULTILINE)


def write(current: str, root: Path = ROOT) -> None:
    """Write a version to its source and to all copies."""
    for path, before in {SOURCE: r'^__version__ = "', **COPIES}.items():
        (root / path).write_text(written(path, before, current, root), "utf-8")


def section(current: str, root: Path = ROOT) -> tuple[str, str]:
    """Return the date and the text of a version in the changelog. Raise ValueError if it is not there."""
    text = (root / CHANGELOG).read_text("utf-8")
    match = re.search(rf"^## \[{re.escape(current)}\] - (\S+)\n(.*?)(?=^## \[|\Z)", text, re.MULTILINE | re.DOTALL)
    if not match:
        raise ValueError(f"{CHANGELOG} has no section of {current}")
    return match[1], match[2].strip()


def problem(tag: str, root: Path = ROOT) -> str | None:
    """Return why this tag may not be released, or None."""
    current = version(root)
    if tag != f"v{current}":
        return f"the tag {tag} is not that of version {current}; write the version by `make version`"
    date, _ = section(current, root)
    if not re.fullmatch(r"\d{4}-\d\d-\d\d", date):
        return f"{CHANGELOG} says {date!r} instead of the date of {current}"
    return None


def main() -> str | None:
    """Write the copies of the version, or check a tag. Return what is wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("version", nargs="?", help="the new version")
    parser.add_argument("--tag", help="the tag to check, such as v0.2.0")
    chosen = parser.parse_args()
    if chosen.tag:
        return problem(chosen.tag)
    if chosen.version and not re.fullmatch(PATTERN, chosen.version):
        return f"{chosen.version!r} is not a version such as 0.2.0 or 0.2.0rc1"
    write(chosen.version or version())
    return None


if __name__ == "__main__":
    sys.exit(main())
