"""Print the dependencies of the project for `pip --requirement`: `python dependencies.py pyproject.toml [EXTRA…]`."""

import sys
import tomllib
from pathlib import Path

if __name__ == "__main__":
    project = tomllib.loads(Path(sys.argv[1]).read_text("utf-8"))["project"]
    extras = [each for name in sys.argv[2:] for each in project["optional-dependencies"][name]]
    sys.stdout.write("\n".join([*project["dependencies"], *extras, ""]))
