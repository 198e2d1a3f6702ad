"""`twins serve`: every setting is a flag."""

import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click
from pydantic.fields import FieldInfo

from service.processes.models import parse_references
from service.settings import CONFIG, FLAG_NAMES, PREFIX, Settings, SettingsError, flag_name, load, set_variable
from twins.zoo import hub

LONGEST_FOLDER = 80  # characters; the system's limit is 107 for a socket, whose name comes behind

Command = TypeVar("Command", bound=Callable[..., Any])


def setting_options(command: Command) -> Command:
    """A flag per setting. Values are checked where all settings are, not here."""
    for name, field in reversed(Settings.model_fields.items()):
        command = click.option(*declaration(name, field), **appearance(name, field))(command)
    return command


def declaration(name: str, field: FieldInfo) -> tuple[str, str]:
    """The flag and the parameter it fills."""
    flag = flag_name(name)
    return (f"{flag}/--no-{flag[2:]}" if field.annotation is bool else flag), name


def appearance(name: str, field: FieldInfo) -> dict[str, Any]:
    """How a flag looks in the help."""
    several = name in FLAG_NAMES or name == "labels"
    default = default_text(field.default)
    shown = f"{field.description} [{PREFIX}{name.upper()}" + (f"; default {default}]" if default else "]")
    looks: dict[str, Any] = {"help": shown, "default": None, "multiple": several}
    return looks if field.annotation is bool else {**looks, "metavar": name.upper().rpartition("_")[2], "type": str}


def default_text(default: object) -> str:
    """A default as a user would write it."""
    return ",".join(map(str, default)) if isinstance(default, tuple) else str(default)


@click.command()
@click.option("--config", metavar="FILE", help=f"a TOML file with any of these settings [{PREFIX}{CONFIG.upper()}]")
@setting_options
def serve(**flags: object) -> None:
    """Serves models over HTTP and gRPC until SIGTERM.

    \b
    twins serve                                        the models that ship, on 127.0.0.1:8000
    twins serve --model twins_svt_small --host 0.0.0.0
    twins serve --model flowers=./flowers.pth --labels flowers.txt
    """  # noqa: D301 - click wants the control character
    settings = load({name: value for name, value in flags.items() if value not in (None, ())})
    for reference in parse_references(settings):
        hub.fetch(reference)  # now, with a progress bar, rather than in every worker
    folder = run_time_folder()
    try:
        sys.exit(run(settings, folder))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def run_time_folder() -> Path:
    """A new private folder for the sockets and metrics of one run. Raises SettingsError where there can be none."""
    try:
        folder = Path(tempfile.mkdtemp(prefix="twins-"))
    except OSError as error:
        raise SettingsError(f"no folder for temporary files can be made: {error.strerror or error}") from error
    if len(str(folder)) > LONGEST_FOLDER:
        folder.rmdir()
        raise SettingsError(f"{folder} is too long a path for sockets; set TMPDIR to a shorter one")
    return folder


def run(settings: Settings, folder: Path) -> int:
    """The service in a private folder; the exit code."""
    (folder / "metrics").mkdir()
    set_variable("PROMETHEUS_MULTIPROC_DIR", str(folder / "metrics"))
    from service.processes import supervisor  # imports the metrics, which look for that variable at once

    return supervisor.run(settings, folder)
