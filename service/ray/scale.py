"""How the application is spread over a cluster, and which settings it cannot follow."""

import math
from collections.abc import Mapping
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from service.setting_sources import load
from service.settings import Settings, SettingsError


class Scale(BaseModel):
    """The arguments of the application beside the settings."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    min_replicas: int = Field(1, ge=1, description="Run at least this many replicas.")
    max_replicas: int = Field(1, ge=1, description="Run at most this many replicas.")
    target_requests: float = Field(
        16.0, gt=0, description="Add or remove replicas so that each has this many requests in flight."
    )
    upscale_delay_s: float = Field(
        30.0, ge=0, description="Add a replica after this many seconds of too many requests."
    )
    downscale_delay_s: float = Field(600.0, ge=0, description="Remove one after this many seconds of too few.")
    cpus: float = Field(1.0, gt=0, description="Reserve this many CPUs of a node for a replica, which uses as many.")
    gpus: float = Field(0.0, ge=0, description="Reserve this share of a GPU for a replica, such as 0.25.")
    models_per_replica: int = Field(
        0,
        ge=0,
        description="Keep at most this many models in a replica, and load the others when a request names them. "
        "0 means that each replica keeps all models.",
    )

    @model_validator(mode="after")
    def check_together(self) -> Self:
        """Check the arguments that depend on each other."""
        if self.max_replicas < self.min_replicas:
            raise ValueError("max_replicas is less than min_replicas")
        if self.gpus > 1:
            raise ValueError("gpus is more than 1, and a replica uses one device; run more replicas instead")
        return self


UNSUPPORTED = {
    "tls_certificate": "Ray Serve's proxies listen; encrypt with their options or with a load balancer",
    "allow_model_control": "all replicas must serve the same models; deploy the application again to change them",
    "model_poll_s": "all replicas must serve the same models; deploy the application again to change them",
}
"""The settings that the application cannot follow, with the reason."""


def read(arguments: Mapping[str, Any]) -> tuple[Settings, Scale]:
    """Return the settings, from the arguments and the usual sources, and the scale. Raise SettingsError."""
    of_scale = {name: value for name, value in arguments.items() if name in Scale.model_fields}
    settings = load({name: value for name, value in arguments.items() if name not in of_scale})
    try:
        scale = Scale.model_validate(of_scale)
    except ValidationError as error:
        first = error.errors()[0]
        where = f"{first['loc'][0]}: " if first["loc"] else ""
        raise SettingsError(f"{where}{first['msg'].removeprefix('Value error, ')}") from error
    for name, reason in UNSUPPORTED.items():
        if getattr(settings, name):
            raise SettingsError(f"{name} has no effect under Ray Serve: {reason}")
    if len(settings.device) > 1:
        raise SettingsError("device names several devices, and a replica uses one; run more replicas instead")
    return settings, scale


def of_replica(settings: Settings, scale: Scale) -> Settings:
    """Return the settings of one replica, which uses the cores and the device that Ray reserves for it."""
    cores = max(1, math.floor(scale.cpus))
    changed: dict[str, Any] = {"frontends": 1}
    if not settings.threads:
        changed["threads"] = cores
    if not settings.decode_threads:
        changed["decode_threads"] = cores
    if settings.device == ("auto",):
        changed["device"] = ("cuda" if scale.gpus else "cpu",)
    return settings.model_copy(update=changed)
