"""The flags of the command line, made from the options that the tasks declare."""

import click
import pytest
from click.testing import CliRunner

from service.cli.options import task_options
from twins.tasks import TASKS
from twins.tasks.options import declared


def parsed(task, *arguments: str):
    """Return the options that a command gets from its arguments, or click's error."""
    found = []

    @click.command()
    @task_options(TASKS[task].options)
    def command(**options) -> None:
        found.append(TASKS[task].options(**options))

    result = CliRunner().invoke(command, arguments)
    return found[0] if found else result.output


@pytest.mark.parametrize("task", TASKS)
def test_without_flags_every_option_has_its_default(task):
    assert parsed(task) == TASKS[task].options()


@pytest.mark.parametrize("task", TASKS)
def test_the_help_describes_every_option(task):
    shown = " ".join(parsed(task, "--help").split())
    for option in declared(TASKS[task].options).values():
        assert f"--{option.name.replace('_', '-')}" in shown
        assert option.description.split()[0] in shown


def test_flags_set_the_options_of_their_names():
    found = parsed("segment", "--classes", "cat, 7,", "--threshold", "0.5", "--confidence", "--size", "model")
    assert found == TASKS["segment"].options(classes=("cat", "7"), threshold=0.5, confidence=True, size="model")


@pytest.mark.parametrize(
    ("task", "arguments"),
    [
        ("classify", ["--top-k", "0"]),
        ("segment", ["--threshold", "1.5"]),
        ("segment", ["--masks", "dots"]),
        ("embed", ["--normalise"]),
    ],
)
def test_what_the_declaration_excludes_is_a_usage_error(task, arguments):
    assert "Error" in parsed(task, *arguments)
