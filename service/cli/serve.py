"""`twins serve` starts the service. Every setting is a flag."""

import sys
from collections.abc import Callable
from typing import Any, TypeVar

import click
from pydantic.fields import FieldInfo

from service import tls
from service.access import key_file
from service.environment import METRICS_FOLDER, PREFIX, set_variable
from service.processes import listening, runtime_folder
from service.processes.models import parse_references
from service.processes.runtime_folder import RuntimeFolder
from service.setting_sources import CONFIG, FLAG_NAMES, flag_name, load
from service.settings import Settings
from service.tracing import tracer
from twins.runtime.choice import check_installed, check_int8
from twins.zoo import hub
from twins.zoo.models import ModelReference

Command = TypeVar("Command", bound=Callable[..., Any])


def setting_options(command: Command) -> Command:
    """Add one flag per setting. `service.settings` checks the values."""
    for name, field in reversed(Settings.model_fields.items()):
        command = click.option(*declaration(name, field), **help_options(name, field))(command)
    return command


def declaration(name: str, field: FieldInfo) -> tuple[str, str]:
    """Return the flag of a setting and the name of its parameter."""
    flag = flag_name(name)
    return (f"{flag}/--no-{flag[2:]}" if field.annotation is bool else flag), name


def help_options(name: str, field: FieldInfo) -> dict[str, Any]:
    """Return the options of a flag for its help text."""
    several = name in FLAG_NAMES or name in ("labels", "preprocess")
    default = default_text(field.default)
    shown = f"{field.description} [{PREFIX}{name.upper()}" + (f"; default {default}]" if default else "]")
    options: dict[str, Any] = {"help": shown, "default": None, "multiple": several}
    return options if field.annotation is bool else {**options, "metavar": name.upper().rpartition("_")[2], "type": str}


def default_text(default: object) -> str:
    """Return a default as a user would write it."""
    if isinstance(default, tuple):
        return ",".join(map(str, default))
    return "" if default is None else str(default)


@click.command()
@click.option("--config", metavar="FILE", help=f"Read settings from this TOML file. [{PREFIX}{CONFIG.upper()}]")
@setting_options
def serve(**flags: object) -> None:
    """Serve models over HTTP and gRPC until SIGTERM.

    \b
    twins serve                                        the models that ship, on 127.0.0.1:8000
    twins serve --model twins_svt_small --host 0.0.0.0
    twins serve --model flowers=./flowers.pth --labels flowers.txt
    """  # noqa: D301 - click wants the control character
    settings = load({name: value for name, value in flags.items() if value not in (None, ())})
    if settings.precision == "int8":
        check_int8(settings.calibration)
    if settings.backend != "auto":
        check_installed(settings.backend)
    key_file.load(settings)  # fail here if the file is broken, and not in a frontend
    tls.check(settings)
    tracer.check(settings)
    listening.check(settings)  # fail before any download if a port is taken
    # resolved once, with a progress bar, so that all workers and their restarts serve the same bytes
    models = tuple(hub.resolve(reference) for reference in parse_references(settings))
    folder = runtime_folder.create()
    try:
        sys.exit(run(settings, folder, models))
    finally:
        folder.remove()


def run(settings: Settings, folder: RuntimeFolder, models: tuple[ModelReference, ...]) -> int:
    """Run the service with its files in that folder, and return the exit code."""
    set_variable(METRICS_FOLDER, str(folder.metrics))
    from service.processes import supervisor  # imports the metrics, which read that variable at once

    return supervisor.run(settings, folder, models)
