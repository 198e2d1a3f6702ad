"""Requests and answers over gRPC: messages as requests, and answers as messages."""

from collections.abc import Iterator, Mapping
from typing import Any

from service.errors import BadRequest
from service.oip.inference import InferRequest, InferResponse, Parameter, RequestedOutput
from service.oip.json_form import CLASSIFICATION
from service.oip.tensors import BYTES, Header, Tensor, from_binary, from_elements, from_numbers, to_binary
from service.pb.inference import grpc_service_pb2 as pb

CONTENTS = {
    "BOOL": "bool_contents",
    **dict.fromkeys(("INT8", "INT16", "INT32"), "int_contents"),
    "INT64": "int64_contents",
    **dict.fromkeys(("UINT8", "UINT16", "UINT32"), "uint_contents"),
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    BYTES: "bytes_contents",
}
"""The field that has the values of each data type. FP16 has none: its values are always binary."""


def to_request(message: pb.ModelInferRequest) -> InferRequest:
    """Return the request in a message. Raise BadRequest."""
    outputs = tuple(RequestedOutput(each.name, classes(each)) for each in message.outputs)
    return InferRequest(
        message.model_name,
        message.model_version,
        message.id,
        tuple(read_inputs(message)),
        outputs,
        parameters(message.parameters),
    )


def parameters(given: Mapping[str, pb.InferParameter]) -> dict[str, Parameter]:
    """Return parameters by name. Raise BadRequest for one without a value."""
    found: dict[str, Parameter] = {}
    for name, parameter in given.items():
        kind = parameter.WhichOneof("parameter_choice")
        if kind is None:
            raise BadRequest(f"the parameter {name[:40]!r} has no value")
        found[name] = getattr(parameter, kind)
    return found


def classes(output: Any) -> int:
    """Return the number of classes of the classification extension; 0 if it is not asked for. Raise BadRequest."""
    given = parameters(output.parameters).get(CLASSIFICATION, 0)
    if isinstance(given, bool) or not isinstance(given, int) or given < 0:
        raise BadRequest(f"the parameter {CLASSIFICATION} of {output.name[:40]!r} must be a number of classes")
    return given


def read_inputs(message: pb.ModelInferRequest) -> Iterator[Tensor]:
    """Yield the input tensors, whose values are all binary or all in their messages. Raise BadRequest."""
    raw = message.raw_input_contents
    if raw and len(raw) != len(message.inputs):
        raise BadRequest(f"the request has {len(message.inputs)} inputs and binary values for {len(raw)}")
    for index, each in enumerate(message.inputs):
        header = Header(each.name, each.datatype, tuple(each.shape))
        if not raw:
            yield from_contents(header, each.contents)
        elif each.HasField("contents"):
            raise BadRequest("the request has binary values and others; it must have either")
        else:
            yield from_binary(header, raw[index])


def from_contents(header: Header, contents: pb.InferTensorContents) -> Tensor:
    """Return a tensor whose values are in its message. Raise BadRequest."""
    if header.datatype not in CONTENTS:
        raise BadRequest(f"the values of the input {header.name[:40]!r} must be in raw_input_contents")
    values = getattr(contents, CONTENTS[header.datatype])
    return from_elements(header, values) if header.datatype == BYTES else from_numbers(header, values)


def to_response(response: InferResponse) -> pb.ModelInferResponse:
    """Return an answer as a message, with binary values."""
    return pb.ModelInferResponse(
        model_name=response.model,
        model_version=response.version,
        id=response.id,
        outputs=[
            pb.ModelInferResponse.InferOutputTensor(name=each.name, datatype=each.datatype, shape=each.shape)
            for each in response.outputs
        ],
        raw_output_contents=[to_binary(each) for each in response.outputs],
    )
