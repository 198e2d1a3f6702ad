"""Lint the shell scripts in the steps of the workflows by ShellCheck: `python -m tools.workflows`."""

import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml

from tools.documents import ROOT

WORKFLOWS = ROOT / ".github" / "workflows"
SHELLCHECK = ROOT / ".venv" / "workflows" / "bin" / "shellcheck"
OF_RUNNER = {"GITHUB_OUTPUT", "GITHUB_REF_NAME"}
"""The variables of the runner that the scripts use. All others must be declared in a workflow, job or step."""

EXPRESSION = re.compile(r"\$\{\{.*?\}\}")


@dataclass(frozen=True)
class Script:
    """The script of one step."""

    where: str  # the file, the job and the number of the step
    text: str
    variables: frozenset[str]


def scripts(folder: Path = WORKFLOWS) -> Iterator[Script]:
    """Yield the scripts of all workflows. The runner replaces expressions before a shell sees them."""
    for path in sorted(folder.glob("*.yml")):
        workflow = yaml.safe_load(path.read_text("utf-8"))
        for name, job in workflow["jobs"].items():
            for number, step in enumerate(job.get("steps", ()), 1):
                if "run" in step:
                    variables = OF_RUNNER.union(*(each.get("env", {}) for each in (workflow, job, step)))
                    text = EXPRESSION.sub("value", step["run"])
                    yield Script(f"{path.name}, {name}, step {number}", text, frozenset(variables))


STYLE = "SC2250,SC2312"
"""Checks that are off: braces around every variable, and pipes in an `if`, since the shells have `pipefail`."""


def problems(script: Script) -> str:
    """Return what ShellCheck says of a script, or an empty text."""
    command = (SHELLCHECK, "--shell=bash", "--enable=all", f"--exclude={STYLE}", "--color=never", "-")
    declared = "".join(f"export {name}=value; " for name in sorted(script.variables))
    ran = subprocess.run(command, input=f"{declared}\n{script.text}", capture_output=True, text=True, check=False)  # noqa: S603
    return f"{script.where}:\n{ran.stdout}{ran.stderr}" if ran.returncode else ""


def main() -> str | None:
    """Return the findings in all scripts, or None."""
    return "\n".join(filter(None, map(problems, scripts()))) or None


if __name__ == "__main__":
    sys.exit(main())
