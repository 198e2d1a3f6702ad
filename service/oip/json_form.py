"""Requests and answers over HTTP: JSON, followed by the binary values of tensors if there are any.

The header `Inference-Header-Content-Length` has the length of the JSON part. If it is 0, the whole body is the one
input. A BYTES element in JSON is the base64 form of its bytes, since JSON has no bytes.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from service.errors import BadRequest, ServiceError
from service.oip.inference import InferRequest, InferResponse, Parameter, RequestedOutput
from service.oip.inputs import IMAGE
from service.oip.tensors import BYTES, Header, Tensor, from_binary, from_elements, from_numbers, to_binary, to_list
from service.rest.body import from_base64

LENGTH_HEADER = "Inference-Header-Content-Length"
BINARY_SIZE, BINARY, ALL_BINARY = "binary_data_size", "binary_data", "binary_data_output"
CLASSIFICATION = "classification"


class InputForm(msgspec.Struct, frozen=True):
    """An input tensor in JSON."""

    name: str
    shape: list[int]
    datatype: str
    parameters: dict[str, Parameter] = {}
    data: msgspec.Raw = msgspec.Raw(b"null")


class OutputForm(msgspec.Struct, frozen=True):
    """A requested output in JSON."""

    name: str
    parameters: dict[str, Parameter] = {}


class RequestForm(msgspec.Struct, frozen=True):
    """A request in JSON."""

    inputs: list[InputForm]
    id: str = ""
    outputs: list[OutputForm] = []
    parameters: dict[str, Parameter] = {}


@dataclass(frozen=True)
class Wanted:
    """Which outputs of an answer are to be binary."""

    all: bool
    by_name: Mapping[str, bool]

    def binary(self, name: str) -> bool:
        """Return whether an output is to be binary."""
        return self.by_name.get(name, self.all)


def parse(model: str, version: str, body: bytes, length: str | None) -> tuple[InferRequest, Wanted]:
    """Return the request in a body, and which outputs are to be binary. Raise BadRequest.

    `length` is the value of the header, if there is one.
    """
    size = len(body) if length is None else header_length(length, len(body))
    if length is not None and size == 0:
        header = Header(IMAGE, BYTES, (1,))
        return InferRequest(model, version, "", (from_elements(header, [body]),)), Wanted(all=True, by_name={})
    form = read_form(body[:size])
    tensors = tuple(read_inputs(form.inputs, memoryview(body)[size:]))
    outputs = tuple(RequestedOutput(each.name, classes(each)) for each in form.outputs)
    by_name = {each.name: each.parameters[BINARY] is True for each in form.outputs if BINARY in each.parameters}
    wanted = Wanted(form.parameters.get(ALL_BINARY) is True, by_name)
    return InferRequest(model, version, form.id, tensors, outputs, form.parameters), wanted


def header_length(text: str, most: int) -> int:
    """Return the length of the JSON part. Raise BadRequest."""
    if not (text.isascii() and text.isdecimal()) or len(text) > len(str(most)) or int(text) > most:
        raise BadRequest(f"{LENGTH_HEADER} is {text[:40]!r}; it must be at most the length of the body, {most}")
    return int(text)


def read_form(text: bytes) -> RequestForm:
    """Return the JSON part of a request. Raise BadRequest."""
    try:
        return msgspec.json.decode(text, type=RequestForm)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadRequest(f"the JSON part of the request: {error}") from error


def read_inputs(forms: list[InputForm], binary: memoryview) -> Iterator[Tensor]:
    """Yield the input tensors; `binary` has the values of those that are binary, in order. Raise BadRequest."""
    for form in forms:
        header = Header(form.name, form.datatype, tuple(form.shape))
        if BINARY_SIZE not in form.parameters:
            yield from_list(header, form)
            continue
        size = form.parameters[BINARY_SIZE]
        if isinstance(size, bool) or not isinstance(size, int) or not 0 <= size <= len(binary):
            raise BadRequest(f"{BINARY_SIZE} of {form.name[:40]!r} is {size!r}; {len(binary)} bytes are left")
        yield from_binary(header, binary[:size])
        binary = binary[size:]
    if len(binary):
        raise BadRequest(f"{len(binary)} bytes follow the last tensor")


def from_list(header: Header, form: InputForm) -> Tensor:
    """Return a tensor whose values are in JSON. Raise BadRequest."""
    try:
        values = msgspec.json.decode(form.data, type=list[Any])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadRequest(
            f"the input {header.name[:40]!r} needs `data`, a list, or the parameter {BINARY_SIZE}"
        ) from error
    if header.datatype != BYTES:
        return from_numbers(header, values)
    return from_elements(header, [element(header, value) for value in flat(values)])


def flat(values: list[Any]) -> Iterator[Any]:
    """Yield the elements of a list that may have one level of lists."""
    for value in values:
        if isinstance(value, list):
            yield from value
        else:
            yield value


def element(header: Header, value: object) -> bytes:
    """Return the bytes of an element in base64. Raise BadRequest."""
    found = from_base64(f"the input {header.name[:40]}", value)
    if isinstance(found, ServiceError):
        raise found
    return found


def classes(output: OutputForm) -> int:
    """Return the number of classes of the classification extension; 0 if it is not asked for. Raise BadRequest."""
    given = output.parameters.get(CLASSIFICATION, 0)
    if isinstance(given, bool) or not isinstance(given, int) or given < 0:
        raise BadRequest(f"the parameter {CLASSIFICATION} of {output.name[:40]!r} must be a number of classes")
    return given


def encode(response: InferResponse, wanted: Wanted) -> tuple[bytes, int | None]:
    """Return the body of an answer, and the length of its JSON part if binary values follow."""
    blobs, outputs = list[bytes](), list[dict[str, Any]]()
    for tensor in response.outputs:
        entry: dict[str, Any] = {"name": tensor.name, "datatype": tensor.datatype, "shape": tensor.shape}
        if wanted.binary(tensor.name):
            blobs.append(to_binary(tensor))
            entry["parameters"] = {BINARY_SIZE: len(blobs[-1])}
        else:
            entry["data"] = to_list(tensor)
        outputs.append(entry)
    described = {"model_name": response.model, "model_version": response.version, "outputs": outputs}
    text = msgspec.json.encode({**({"id": response.id} if response.id else {}), **described})
    return b"".join([text, *blobs]), len(text) if blobs else None
