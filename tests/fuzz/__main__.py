"""The command `python -m tests.fuzz [TARGET ...] [--seconds N] [--folder DIR]`. The exit code is 1 after a finding."""

import argparse
import sys
from pathlib import Path

from tests.fuzz import campaign
from tests.fuzz.finding import ROOT
from tests.fuzz.target import TARGETS


def main() -> int:
    """Fuzz the targets one after the other, and list the findings."""
    parser = argparse.ArgumentParser("python -m tests.fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"by default all: {', '.join(TARGETS)}")
    parser.add_argument("--seconds", type=int, default=600, help="for each target")
    parser.add_argument("--folder", type=Path, default=ROOT / ".fuzz", help="for inputs and findings")
    given = parser.parse_args()
    if unknown := set(given.targets) - set(TARGETS):
        parser.error(f"there is no target {unknown.pop()!r}; the targets are {', '.join(TARGETS)}")
    names = given.targets or TARGETS
    found = [path for name in names for path in campaign.run(name, given.seconds, given.folder.resolve())]
    sys.stdout.write("\n".join(["findings:", *map(str, found), ""]) if found else "no finding\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
