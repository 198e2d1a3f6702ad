"""Every setting, from flags, `TWINS_*` variables or a TOML file, in one typed object.

The only module that reads the environment. A flag beats a variable, a variable beats the file, the file the default.
"""

import difflib
import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, ValidationError, model_validator

from twins.images.decode import Limits
from twins.runtime.plan import Precision
from twins.zoo import models as zoo

PREFIX = "TWINS_"
CONFIG = "config"  # not a setting of the service: where the file is


class SettingsError(ValueError):
    """A wrong name or value, with what would be right."""


def split(value: object) -> object:
    """A list as people write it in a variable: with commas."""
    return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


def split_keys(value: object) -> object:
    """The same; but a variable that is there and empty is a mistake, and must not mean that no key is needed."""
    if isinstance(value, str) and not value.strip():
        raise ValueError("no key in it")
    return split(value)


List = Annotated[tuple[str, ...], BeforeValidator(split)]
Keys = Annotated[tuple[Annotated[SecretStr, Field(min_length=1)], ...], BeforeValidator(split_keys)]
Device = Annotated[str, Field(pattern=r"^(auto|cpu|cuda(:\d+)?)$")]
Devices = Annotated[tuple[Device, ...], Field(min_length=1), BeforeValidator(split)]
Port = Annotated[int, Field(ge=0, le=65535)]


class Settings(BaseModel):
    """The service's settings; times in seconds unless the name says otherwise."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    models: List = Field(
        tuple(zoo.DEFAULTS.values()), description="models to serve, NAME or NAME=FILE; the first is the default"
    )
    labels: List = Field((), description="class names of own checkpoints: FILE, or MODEL=FILE where several are served")
    exif: Literal["model", "always", "never"] = Field(
        "model", description="turn images as EXIF says: as each model was measured, always, or never"
    )

    host: str = Field("127.0.0.1", description="address to listen on")
    http_port: Port = Field(8000, description="port of REST and /metrics")
    grpc_port: Port = Field(8001, description="port of gRPC")
    api_keys: Keys = Field((), description="keys of which clients must show one; none: everybody is served")

    device: Devices = Field(
        ("auto",), description="auto (every GPU, else the CPU), cpu, cuda, cuda:1; several separated by commas"
    )
    precision: Precision = Field("auto", description="auto, float32, bfloat16 or float16; auto is float32 on a CPU")
    compile: bool = Field(default=False, description="torch.compile: faster later, slower to start")
    threads: int = Field(0, ge=0, description="threads of a CPU worker; 0: one core less than there are")
    decode_threads: int = Field(0, ge=0, description="threads of a frontend that decode images; 0: one a core")
    frontends: int = Field(1, ge=1, le=64, description="processes that speak HTTP and gRPC")

    max_batch: int = Field(
        0,
        ge=0,
        le=1024,
        description="most images in a batch; 0: on a GPU 32, or 8 to segment, on a CPU 8, or 1 to segment",
    )
    max_delay_ms: float = Field(
        0.0, ge=0, description="longest wait of an image for company while others are on their way, in milliseconds"
    )
    max_queue: int = Field(512, ge=1, description="most images in work per frontend; more are refused with 429")
    request_timeout_s: float = Field(30.0, gt=0, description="longest time for a request, and the default deadline")

    max_body_bytes: int = Field(64 * 2**20, ge=1, description="most bytes in a request")
    max_held_bytes: int = Field(
        2**30, ge=1024, description="most bytes of unanswered requests per frontend; more are refused with 429"
    )
    max_images: int = Field(64, ge=1, description="most images in a request")
    max_image_bytes: int = Field(Limits.max_bytes, ge=1, le=2**30, description="most bytes in an image")
    max_pixels: int = Field(Limits.max_pixels, ge=1, description="most pixels in an image")
    max_side: int = Field(Limits.max_side, ge=1, description="most pixels in a side of an image")
    max_frames: int = Field(Limits.max_frames, ge=1, description="most frames in an image; the first is looked at")

    drain_delay_s: float = Field(1.0, ge=0, description="time to serve on, not ready, after the signal to stop")
    grace_s: float = Field(30.0, ge=0, description="time for requests in flight after that, before they are cut off")
    start_timeout_s: float = Field(600.0, gt=0, description="longest time for a worker to load and warm up")
    hang_timeout_s: float = Field(120.0, ge=2, description="silence, or time in one batch, after which it is killed")

    log_format: Literal["auto", "console", "json"] = Field(
        "auto", description="console, json, or auto: console on a terminal"
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="least severity that is logged")

    @model_validator(mode="after")
    def check_together(self) -> Self:
        """Two protocols need two ports; what one request may hold must fit into what all may."""
        if self.http_port == self.grpc_port != 0:
            raise ValueError("http_port and grpc_port are the same")
        if self.max_held_bytes < self.max_body_bytes:
            raise ValueError("max_held_bytes is less than max_body_bytes: such a request could never be held")
        return self

    @property
    def image_limits(self) -> Limits:
        """The limits that `twins.images.decode` checks."""
        return Limits(self.max_image_bytes, self.max_pixels, self.max_side, self.max_frames)


def load(flags: Mapping[str, object], *, environ: Mapping[str, str] | None = None) -> Settings:
    """The settings from all sources. Raises SettingsError."""
    environ = os.environ if environ is None else environ
    variables = ours(environ)
    named = variables.pop(CONFIG, None)
    config = flags.get(CONFIG) or named
    file = read_file(Path(str(config))) if config else {}
    sources = (
        (file, lambda name: f"{name} in {config}"),
        (variables, lambda name: f"the variable {PREFIX}{name.upper()}"),
        ({name: value for name, value in flags.items() if name != CONFIG}, flag_name),
    )
    merged: dict[str, object] = {}
    called: dict[str, str] = {}
    for values, call in sources:
        for name, value in values.items():
            check_name(name, call)
            merged[name], called[name] = value, call(name)
    try:
        return Settings.model_validate(merged)
    except ValidationError as error:
        raise SettingsError("\n".join(explain(complaint, called) for complaint in error.errors())) from error


def ours(environ: Mapping[str, str]) -> dict[str, str]:
    """The variables that are meant for this service, by setting."""
    named = {key[len(PREFIX) :].lower(): value for key, value in environ.items() if key.startswith(PREFIX)}
    return {name: value for name, value in named.items() if not INJECTED.fullmatch(f"{name}={value}")}


INJECTED = re.compile(r"(service_host|service_port\w*|port_\d+_\w+)=.*|port=tcp://.*")
"""What Kubernetes puts into every container's environment for a Service that is called `twins`."""


def read_file(path: Path) -> dict[str, Any]:
    """A TOML file's values. Raises SettingsError."""
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise SettingsError(f"{path}: cannot read the settings ({error})") from error


def check_name(name: str, call: Any) -> None:
    """Refuses a name that is no setting, with the closest that is."""
    if name in Settings.model_fields:
        return
    close = difflib.get_close_matches(name, Settings.model_fields, n=1)
    hint = f"; did you mean {call(close[0])}?" if close else ""
    raise SettingsError(f"{call(name)} is no setting{hint}")


def explain(complaint: Any, called: Mapping[str, str]) -> str:
    """One wrong value in words."""
    if not complaint["loc"]:  # of several settings together: the input is all of them, keys included
        return str(complaint["msg"])
    name = str(complaint["loc"][0])
    given = "" if name in SECRET else f", not {complaint['input']!r}"
    return f"{called.get(name, name)}: {complaint['msg']}{given}"


def flag_name(name: str) -> str:
    """How a setting is spelt on the command line."""
    return "--" + FLAG_NAMES.get(name, name).replace("_", "-")


FLAG_NAMES = {"models": "model", "api_keys": "api-key"}
"""Flags that may be given several times are named in the singular."""


SECRET = {"api_keys"}
"""Settings whose values are never shown."""


def cores() -> int:
    """Processor cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def child_environment(**extra: str) -> dict[str, str]:
    """The environment for a process of ours: this one's, and what is given."""
    return {**os.environ, **extra}


def set_variable(name: str, value: str) -> None:
    """For libraries that read the environment when they are imported."""
    os.environ[name] = value
