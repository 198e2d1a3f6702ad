"""Reads the settings from flags, `TWINS_*` variables or a TOML file.

A flag takes precedence over a variable, a variable over the file, and the file over the default.
"""

import difflib
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from service import environment
from service.environment import PREFIX
from service.setting_problems import describe
from service.settings import Settings, SettingsError

CONFIG = "config"  # the path of the settings file, which is not a setting itself


def load(flags: Mapping[str, object], *, environ: Mapping[str, str] | None = None) -> Settings:
    """Read the settings from all sources. Raise SettingsError if a name or a value is wrong."""
    environ = environment.all_variables() if environ is None else environ
    variables = twins_variables(environ)
    named_file = variables.pop(CONFIG, None)
    config = flags.get(CONFIG) or named_file
    file = read_file(Path(str(config))) if config else {}
    of_platform = {VERTEX_VARIABLES[name]: value for name, value in environ.items() if name in VERTEX_VARIABLES}
    sources = (
        (file, lambda name: f"{name} in {config}"),
        (of_platform, {name: f"the variable {variable}" for variable, name in VERTEX_VARIABLES.items()}.__getitem__),
        (variables, lambda name: f"the variable {PREFIX}{name.upper()}"),
        ({name: value for name, value in flags.items() if name != CONFIG}, flag_name),
    )
    merged: dict[str, object] = {}
    origins: dict[str, str] = {}
    for values, written_as in sources:
        for name, value in values.items():
            check_name(name, written_as)
            merged[name], origins[name] = value, written_as(name)
    try:
        return Settings.model_validate(merged)
    except ValidationError as error:
        names = {name: origins.get(name, flag_name(name)) for name in Settings.model_fields}
        first = {each["loc"][:1]: each for each in reversed(error.errors())}  # of a setting; later ones follow from it
        problems = [describe(each, Settings.model_fields, names, secret=SECRET) for each in first.values()]
        raise SettingsError("\n".join(reversed(problems))) from error


VERTEX_VARIABLES = {
    "AIP_HTTP_PORT": "http_port",
    "AIP_PREDICT_ROUTE": "predict_route",
    "AIP_HEALTH_ROUTE": "health_route",
}
"""The setting of each variable by which Vertex AI configures a container."""


def twins_variables(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that set a setting of this service, by the setting's name."""
    found = {key[len(PREFIX) :].lower(): value for key, value in environ.items() if key.startswith(PREFIX)}
    return {name: value for name, value in found.items() if not KUBERNETES_VARIABLES.fullmatch(f"{name}={value}")}


KUBERNETES_VARIABLES = re.compile(r"(service_host|service_port\w*|port_\d+_\w+)=.*|port=tcp://.*")
"""Variables that Kubernetes adds to every container if a Service is called `twins`."""


def read_file(path: Path) -> dict[str, Any]:
    """Return the values of a TOML file. Raise SettingsError if it cannot be read."""
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise SettingsError(f"{path}: cannot read the settings: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise SettingsError(f"{path}: cannot read the settings: it is not a text file in UTF-8") from error
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{path}: cannot read the settings: it is not valid TOML: {error}") from error


def check_name(name: str, written_as: Any) -> None:
    """Raise SettingsError if there is no setting of this name, and suggest the closest name."""
    if name in Settings.model_fields:
        return
    close = difflib.get_close_matches(name, Settings.model_fields, n=1)
    hint = f"; did you mean {written_as(close[0])}?" if close else ""
    raise SettingsError(f"{written_as(name)} is not a setting{hint}")


def flag_name(name: str) -> str:
    """Return the command line flag of a setting."""
    return "--" + FLAG_NAMES.get(name, name).replace("_", "-")


FLAG_NAMES = {"models": "model", "api_keys": "api-key"}
"""Flags that may be repeated, which have a singular name."""


SECRET = {"api_keys"}
"""Settings whose values are never shown in messages."""
