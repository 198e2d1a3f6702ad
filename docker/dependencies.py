"""Print the dependencies of the project for `pip --requirement`: `python dependencies.py pyproject.toml`."""

import sys
import tomllib
from pathlib import Path

if __name__ == "__main__":
    project = tomllib.loads(Path(sys.argv[1]).read_text("utf-8"))["project"]
    sys.stdout.write("\n".join([*project["dependencies"], ""]))
