"""Command line options made from the options that a task declares."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar, get_args

import click

from twins.running import BackendChoice, Precision
from twins.tasks.options import Option, Options, declared
from twins.tasks.task import AnyTask
from twins.zoo.models import DEFAULT_MODELS

Command = TypeVar("Command", bound=Callable[..., Any])


json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object per line, for programs")


device_option = click.option(
    "--device", default="auto", show_default=True, help="Run on this device: auto, cpu, cuda or cuda:N"
)
backend_option = click.option(
    "--backend",
    type=click.Choice(get_args(BackendChoice)),
    default="auto",
    show_default=True,
    help="Run with this library; auto takes the fastest one that is installed",
)

precision_option = click.option(
    "--precision",
    type=click.Choice(get_args(Precision)),
    default="auto",
    show_default=True,
    help="Compute in this precision; int8 needs --calibration",
)
calibration_option = click.option(
    "--calibration",
    type=click.Path(path_type=Path),
    help="Quantise the model for --precision int8 with images of this folder; they need no labels",
)


def task_options(options: type[Options]) -> Callable[[Command], Command]:
    """Return a decorator that adds a flag for each option. The command gets them as keyword arguments."""

    def add(command: Command) -> Command:
        for option in reversed(list(declared(options).values())):
            command = flag(option)(command)
        return command

    return add


def run_options(task: AnyTask, *, batch: int) -> Callable[[Command], Command]:
    """Return a decorator that adds the flags of every command that runs a model. `batch` is the default batch size."""
    flags = (
        model_option(DEFAULT_MODELS.get(task.model_task)),
        click.option(
            "--labels", type=click.Path(path_type=Path), help="Read the class names from this file, one per line"
        ),
        device_option,
        backend_option,
        click.option(
            "--batch",
            type=click.IntRange(1, 1024),
            default=batch,
            show_default=True,
            help="Run this many images in a batch",
        ),
    )

    def add(command: Command) -> Command:
        for each in reversed(flags):
            command = each(command)
        return command

    return add


def model_option(default: str | None) -> Callable[[Command], Command]:
    """Return the flag of the model, which is required if there is no default."""
    help_ = "Run this model: NAME, or NAME=FILE"
    if default is None:
        return click.option("--model", required=True, help=help_)
    return click.option("--model", default=default, show_default=True, help=help_)


def flag(option: Option) -> Callable[[Command], Command]:
    """Return the decorator of one flag."""
    name, description = f"--{option.name.replace('_', '-')}", option.description.rstrip(".")
    if option.kind is bool:
        return click.option(name, is_flag=True, help=description)
    if option.kind is tuple:
        return click.option(name, default="", callback=read_list, help=f"{description} (separated by commas)")
    return click.option(name, type=value_type(option), default=option.default, show_default=True, help=description)


def value_type(option: Option) -> "click.ParamType[Any]":
    """Return click's type for an option's values."""
    if option.choices:
        return click.Choice(option.choices)
    ranges: Mapping[type, type[Any]] = {int: click.IntRange, float: click.FloatRange}
    made: click.ParamType[Any] = ranges[option.kind](option.minimum, option.maximum)
    return made


def read_list(_: click.Context, __: click.Parameter, text: str) -> tuple[str, ...]:
    """Return the values of a list separated by commas."""
    return tuple(part.strip() for part in text.split(",") if part.strip())
