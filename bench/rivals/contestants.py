"""The servers that are compared, as data: how each is started, and what a request to it contains."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from bench.environments import OURS as OURS_ENVIRONMENT
from bench.environments import python

Kind = Literal["ours", "documented", "runtime"]
Form = Literal["multipart", "body", "tensor"]
"""What a request contains: a form with a file, the encoded image itself, or a tensor of bytes of the V2 protocol."""


@dataclass(frozen=True)
class Contestant:
    """One server."""

    name: str
    kind: Kind  # ours, a rival as its documentation teaches, or a rival that is given our runtime
    form: Form
    path: str
    command: Sequence[str]  # with {port}, {grpc_port} and {model}
    settings: str  # what was chosen, for the tables
    threads: int = 1  # of the model, where its forward pass takes most of the time; 1 for small models
    environ: Mapping[str, str] = field(default_factory=dict)
    isolated: bool = False  # in a network namespace of its own, because it listens on all interfaces

    @property
    def environment(self) -> str:
        """Return the name of the environment that it needs."""
        return OURS_ENVIRONMENT if self.kind == "ours" else self.name.partition(",")[0]


def rival(name: str, form: Form, path: str, settings: str, *arguments: str, threads: int = 1) -> Contestant:
    """Return a rival whose script is `NAME_server.py`, or that is started by other arguments of Python."""
    command = (str(python(name)), *(arguments or (f"{name}_server.py",)))
    return Contestant(name, "documented", form, path, command, settings, threads)


def over_openvino(contestant: Contestant) -> Contestant:
    """Return a rival that is given the runtime of the service."""
    name = f"{contestant.name}, OpenVINO"
    return replace(contestant, name=name, kind="runtime", environ={**contestant.environ, "RIVAL_RUNTIME": "openvino"})


OURS = Contestant(
    name="twins",
    kind="ours",
    form="multipart",
    path="/classify",
    command=(
        *("{python}", "-m", "service.cli", "serve", "--device", "cpu", "--model", "{model}", "--log-level", "warning"),
        *("--http-port", "{port}", "--grpc-port", "{grpc_port}"),
    ),
    settings="defaults, and like the others no log line for each request",
)

THREADS = "1 thread, 2 for SVT-S"

MOSEC = rival(
    "mosec",
    "body",
    "/inference",
    f"1 process that preprocesses, 1 with the model ({THREADS}), batches of up to 8, wait 2 ms",
    threads=2,
)
LITSERVE = rival("litserve", "multipart", "/classify", "2 workers of 1 thread, batches of up to 8, wait 2 ms")
BENTOML = rival(
    "bentoml",
    "multipart",
    "/classify",
    f"1 process for requests, 1 with the model ({THREADS}), adaptive batches of up to 8",
    *("-m", "bentoml", "serve", "bentoml_service:Upload", "--port", "{port}", "--host", "127.0.0.1"),
    threads=2,
)
PYTRITON = rival(
    "pytriton",
    "tensor",
    "/v2/models/classify/infer",
    "2 instances of 1 thread, dynamic batches of up to 8, wait 2 ms",
)
RAY = rival("ray", "body", "/classify", "2 replicas of 1 thread, batches of up to 8, wait 2 ms")

CONTESTANTS = (
    OURS,
    rival("fastapi", "multipart", "/classify", "2 processes of 1 thread, functions in threads, no batching"),
    MOSEC,
    LITSERVE,
    replace(BENTOML, environ={"BENTOML_DO_NOT_TRACK": "True"}),
    PYTRITON,
    replace(RAY, environ={"RAY_USAGE_STATS_ENABLED": "0"}, isolated=True),
    over_openvino(MOSEC),
    over_openvino(LITSERVE),
)
