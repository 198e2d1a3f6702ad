"""The JSON documents of the protocol, as types. `service.oip.documents` describes them in the OpenAPI document."""

from typing import Any

import msgspec

from service.core.orders import VersionState
from service.oip.inference import Parameter
from service.oip.json_form import OutputForm


class Refusal(msgspec.Struct, frozen=True):
    """An error."""

    error: str
    code: str
    request_id: str


class ServerMetadata(msgspec.Struct, frozen=True):
    """The server, with the extensions of the protocol that it has."""

    name: str
    version: str
    extensions: list[str]


class ServerLive(msgspec.Struct, frozen=True):
    """Whether the process is alive."""

    live: bool


class ServerReady(msgspec.Struct, frozen=True):
    """Whether the service is ready."""

    ready: bool


class ModelReady(msgspec.Struct, frozen=True):
    """Whether a model is ready."""

    name: str
    ready: bool


class ModelNames(msgspec.Struct, frozen=True):
    """The names of the models."""

    models: list[str]


class TensorMetadata(msgspec.Struct, frozen=True):
    """An input or an output of a model. -1 stands for any length."""

    name: str
    datatype: str
    shape: list[int]


class ModelMetadata(msgspec.Struct, frozen=True):
    """The inputs and outputs of a model, and its versions that are served."""

    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]


class TensorConfiguration(msgspec.Struct, frozen=True):
    """An input or an output of a model, without the dimension of the batch."""

    name: str
    data_type: str
    dims: list[int]
    optional: bool = False


class ModelConfiguration(msgspec.Struct, frozen=True):
    """The configuration of a model in Triton's form."""

    name: str
    platform: str
    backend: str
    version_policy: dict[str, Any]
    max_batch_size: int
    input: list[TensorConfiguration]
    output: list[TensorConfiguration]
    dynamic_batching: dict[str, int]
    parameters: dict[str, Any]
    model_transaction_policy: dict[str, bool]


class DurationForm(msgspec.Struct, frozen=True):
    """A number of requests or images, and the nanoseconds that they took together."""

    count: int
    ns: int


class ModelStatistics(msgspec.Struct, frozen=True):
    """What a model has done since the start of the service. `last_inference` is in milliseconds of Unix time."""

    name: str
    version: str
    last_inference: int
    inference_count: int
    execution_count: int
    inference_stats: dict[str, DurationForm]
    batch_stats: list[Any]
    memory_usage: list[Any]


class Statistics(msgspec.Struct, frozen=True):
    """What models have done."""

    model_stats: list[ModelStatistics]


class VersionEntry(msgspec.Struct, frozen=True):
    """A version of a model, its state, and why it is unavailable."""

    name: str
    version: str
    state: VersionState
    reason: str


class Index(msgspec.Struct, frozen=True):
    """The body of a request for the index."""

    ready: bool = False  # only what answers calls


class Control(msgspec.Struct, frozen=True):
    """The body of an order."""

    parameters: dict[str, Any] = {}


class TensorForm(msgspec.Struct, frozen=True):
    """A tensor: its values are in `data`, or follow the JSON part if it has the parameter `binary_data_size`."""

    name: str
    datatype: str
    shape: list[int]
    parameters: dict[str, Parameter] = {}
    data: list[Any] | None = None


class InferenceRequest(msgspec.Struct, frozen=True):
    """One input, the outputs that are wanted, and options of the task."""

    inputs: list[TensorForm]
    id: str = ""
    outputs: list[OutputForm] = []
    parameters: dict[str, Parameter] = {}


class InferenceAnswer(msgspec.Struct, frozen=True):
    """The outputs of a model."""

    model_name: str
    model_version: str
    outputs: list[TensorForm]
    id: str = ""
