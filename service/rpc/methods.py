"""What each gRPC method is, which is known before its message is received."""

from typing import Literal

from service.access.keys import Scope
from service.core.orders import Action

Kind = Literal["keyed", "keyless", "probe"]
"""A call whose key is checked, one that needs no key, and a check of health. Each kind has limits of its own."""

TWINS, V2 = "/twins.v1.Twins/", "/inference.GRPCInferenceService/"

PROBES = frozenset({"/grpc.health.v1.Health/Check", f"{V2}ServerLive", f"{V2}ServerReady"})
"""Methods that are answered beyond the limits of others, so that a flood of calls does not look like a dead service."""

SCOPES: dict[str, Scope] = {
    f"{TWINS}Classify": "infer",
    f"{TWINS}ClassifyStream": "infer",
    f"{TWINS}Segment": "infer",
    f"{TWINS}SegmentStream": "infer",
    f"{TWINS}Detect": "infer",
    f"{TWINS}DetectStream": "infer",
    f"{TWINS}Embed": "infer",
    f"{TWINS}EmbedStream": "infer",
    f"{TWINS}ListModels": "models",
    f"{V2}ModelInfer": "infer",
    f"{V2}ModelStreamInfer": "infer",
    f"{V2}ModelReady": "models",
    f"{V2}ModelMetadata": "models",
    f"{V2}ModelConfig": "models",
    f"{V2}ModelStatistics": "models",
    f"{V2}RepositoryIndex": "models",
    f"{V2}RepositoryModelLoad": "control",
    f"{V2}RepositoryModelUnload": "control",
}
"""What a key has to allow. Methods that are not here need none."""

ORDERS: dict[str, Action] = {f"{V2}RepositoryModelLoad": "load", f"{V2}RepositoryModelUnload": "unload"}
"""What the log calls a call that changes what is served."""


def kind_of(method: str) -> Kind:
    """Return the kind of a method."""
    if method in PROBES:
        return "probe"
    return "keyed" if method in SCOPES else "keyless"
