"""Fails if anything is installed whose version constraints.txt does not fix: `python locked.py constraints.txt`."""

import re
import sys
from importlib.metadata import distributions
from pathlib import Path


def normal(name: str) -> str:
    """A package's name as indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def main() -> str | None:
    """The complaint, if there is one."""
    lines = (line.split("==") for line in Path(sys.argv[1]).read_text("utf-8").splitlines())
    locked = {normal(name): version for name, version in lines}
    installed = {normal(each.name): each.version.partition("+")[0] for each in distributions()}  # 2.13.0+cpu is 2.13.0
    loose = sorted(f"{name}=={version}" for name, version in installed.items() if locked.get(name) != version)
    return f"not in {sys.argv[1]}: {' '.join(loose)}" if loose else None


if __name__ == "__main__":
    sys.exit(main())
