"""Fail if an installed version is not the one in constraints.txt: `python locked.py constraints.txt`."""

import re
import sys
from importlib.metadata import distributions
from pathlib import Path


def normalised(name: str) -> str:
    """Return the normalised name of a package, as package indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def main() -> str | None:
    """Return an error message, or None if all versions are listed."""
    lines = (line.split("==") for line in Path(sys.argv[1]).read_text("utf-8").splitlines())
    locked = {normalised(name): version for name, version in lines}
    installed = {
        normalised(each.name): each.version.partition("+")[0] for each in distributions()
    }  # 2.13.0+cpu is 2.13.0
    unlisted = sorted(f"{name}=={version}" for name, version in installed.items() if locked.get(name) != version)
    return f"installed but not listed in {sys.argv[1]}: {' '.join(unlisted)}" if unlisted else None


if __name__ == "__main__":
    sys.exit(main())
