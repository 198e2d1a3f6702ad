"""The operations of the protocol in the OpenAPI document: requests, answers and errors, with examples.

The answers in the examples are made by the code that makes real ones.
"""

from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np

from service import errors
from service.core.orders import IndexEntry
from service.errors import ServiceError
from service.examples import CARD, IMAGE, IMAGE_FILE, MODEL_NAME, REQUEST_ID, example, file_example
from service.oip import forms, models, repository, statistics
from service.oip.inference import InferResponse
from service.oip.inputs import IMAGE as IMAGE_INPUT
from service.oip.inputs import PIXELS
from service.oip.json_form import BINARY as BINARY_OUTPUT
from service.oip.json_form import BINARY_SIZE, CLASSIFICATION, LENGTH_HEADER, Wanted, encode
from service.oip.statistics import Duration, ModelTotals
from service.oip.tensors import BYTES, numbers, texts
from service.rest.openapi.parts import BINARY, FILE, HEADERS, REFERENCE, TIMING, path_parameter
from service.rest.openapi.refusals import OF_A_MODEL, OF_BODIES, OF_MODELS, OF_RUNS, refusals
from service.settings import Settings
from twins.card import FIRST_VERSION
from twins.render.renderer import JSON

TYPES = (
    *(forms.Refusal, forms.ServerMetadata, forms.ServerLive, forms.ServerReady, forms.ModelReady, forms.ModelNames),
    *(forms.ModelMetadata, forms.ModelConfiguration, forms.Statistics, list[forms.VersionEntry], forms.Index),
    *(forms.InferenceRequest, forms.InferenceAnswer),
)
(*REFERENCES,), SCHEMAS = msgspec.json.schema_components(TYPES, ref_template=REFERENCE)
SCHEMA = dict(zip(TYPES, REFERENCES, strict=True))

# ---------------------------------------------------------------------- requests

PIXEL_VALUES = np.arange(0, 240, 20, dtype=np.uint8).reshape(1, 2, 2, 3)


def image_input(*images: str) -> dict[str, Any]:
    """Return the input with image files in base64."""
    return {"name": IMAGE_INPUT, "shape": [len(images)], "datatype": BYTES, "data": images}


def pixel_input(**values: Any) -> dict[str, Any]:
    """Return the input with the pixels of an image, whose values are given."""
    return {"name": PIXELS, "shape": PIXEL_VALUES.shape, "datatype": "UINT8", **values}


BINARY_HEADER = msgspec.json.encode(
    {
        "inputs": [pixel_input(parameters={BINARY_SIZE: PIXEL_VALUES.nbytes})],
        "outputs": [{"name": "scores", "parameters": {BINARY_OUTPUT: True}}],
    }
)
TENSORS = {
    "image": example({"inputs": [image_input(IMAGE)]}, "An image file in base64"),
    "images": example(
        {"id": REQUEST_ID, "inputs": [image_input(IMAGE, IMAGE)], "parameters": {"top_k": 2, "priority": 1}},
        "Several image files, with an option of the task and a priority",
    ),
    "pixels": example(
        {
            "inputs": [pixel_input(data=PIXEL_VALUES.ravel().tolist())],
            "outputs": [{"name": "scores", "parameters": {CLASSIFICATION: 2}}, {"name": "logits"}],
        },
        "The pixels of an image, and the outputs that are wanted",
    ),
}
FILES = {
    "image": {**IMAGE_FILE, "summary": f"An image file as the body, with {LENGTH_HEADER}: 0"},
    "tensors": file_example(BINARY_HEADER + PIXEL_VALUES.tobytes(), FILE, "JSON, followed by the values of a tensor"),
}
LENGTH = {
    "name": LENGTH_HEADER,
    "in": "header",
    "schema": {"type": "integer", "minimum": 0},
    "description": "The length of the JSON part of a body that has binary values after it. If it is 0, the body is an "
    "image file. Without it, the whole body is JSON.",
    "examples": {"image": example(0), "tensors": example(len(BINARY_HEADER))},
}
"""An example here belongs to that of the body with the same name."""

INFER_BODY = {
    "required": True,
    "content": {
        JSON: {"schema": SCHEMA[forms.InferenceRequest], "examples": TENSORS},
        FILE: {"schema": BINARY, "examples": FILES},
    },
}


def optional_body(schema: Mapping[str, Any], **values: Any) -> dict[str, Any]:
    """Return the description of a body in JSON that may be missing; `values` are examples by name."""
    examples = {name: example(value) for name, value in values.items()}
    return {"required": False, "content": {JSON: {"schema": schema, "examples": examples}}}


def order(known: Mapping[str, type]) -> dict[str, Any]:
    """Return the schema of an order with these parameters."""
    properties = {name: msgspec.json.schema(kind) for name, kind in known.items()}
    parameters = {"type": "object", "properties": properties, "additionalProperties": False}
    return {"type": "object", "properties": {"parameters": parameters}}


# ---------------------------------------------------------------------- answers and errors

OUTPUTS = (
    numbers("scores", "FP32", [[0.75, 0.125]]),
    numbers("class_ids", "INT64", [[0, 1]]),
    texts("labels", np.array([["cat", "dog"]], object)),
)
RESPONSE = InferResponse(MODEL_NAME, FIRST_VERSION, REQUEST_ID, OUTPUTS, ())
TOTALS = ModelTotals(
    *(MODEL_NAME, FIRST_VERSION),
    succeeded=Duration(12, 0.31),
    failed=Duration(1, 0.01),
    queue=Duration(12, 0.02),
    compute_input=Duration(12, 0.05),
    compute_infer=Duration(12, 0.21),
    compute_output=Duration(12, 0.01),
    images=12,
    batches=9,
    last_request=1.7e9,
)
ENTRIES = [
    IndexEntry("pets", "1", "READY", default=True),
    IndexEntry("pets", "2", "UNAVAILABLE", "the file is damaged"),
]


def answer(kind: Any, description: str, value: Any) -> dict[str, Any]:
    """Return the description of a response with a JSON body of that type, and an example."""
    return {
        "description": description,
        "content": {JSON: {"schema": SCHEMA[kind], "examples": {"answer": example(value)}}},
    }


def form(error: ServiceError, request_id: str) -> forms.Refusal:
    """Return an error as its body."""
    return forms.Refusal(error.detail, error.code, request_id)


def refused(*kinds: type[ServiceError]) -> dict[str, Any]:
    """Return the responses with these errors."""
    return refusals(kinds, form, SCHEMA[forms.Refusal], JSON)


def not_ready() -> dict[str, Any]:
    """Return the responses with errors for a model, of which 503 also has the form of the answer."""
    found = refused(*OF_A_MODEL)
    content = found["503"]["content"][JSON]
    content["schema"] = {"anyOf": [SCHEMA[forms.ModelReady], SCHEMA[forms.Refusal]]}
    content["examples"]["not_ready"] = example(forms.ModelReady(MODEL_NAME, ready=False), "The model is not ready")
    return found


def inferred() -> dict[str, Any]:
    """Return the description of the outputs of a model, in JSON and in binary."""
    content, _ = encode(RESPONSE, Wanted(all=False, by_name={}))
    binary, length = encode(RESPONSE, Wanted(all=True, by_name={}))
    size = {"schema": {"type": "integer"}, "description": "The length of the JSON part.", "example": length}
    return {
        "description": "The outputs of the model, in binary if the request wants an output to be binary",
        "headers": {**TIMING, LENGTH_HEADER: size},
        "content": {
            **answer(forms.InferenceAnswer, "", msgspec.json.decode(content))["content"],
            FILE: {"schema": BINARY, "examples": {"answer": file_example(binary, FILE)}},
        },
    }


# ---------------------------------------------------------------------- operations


def operation(success: Mapping[str, Any], refusals: Mapping[str, Any], **others: Any) -> dict[str, Any]:
    """Return the description of an operation that is counted as a call, with all its responses."""
    return {"parameters": HEADERS, "responses": {"200": success, **refusals}, **others}


DONE = {
    "description": "It is done",
    "content": {JSON: {"schema": {"type": "object"}, "examples": {"answer": example({})}}},
}
OF_ORDERS = refused(*(*OF_BODIES, errors.ModelControlFailed, errors.UnknownModel, errors.DeadlineExceeded))

SERVER = {"responses": {"200": answer(forms.ServerMetadata, "The server", models.SERVER)}}
LIVE = {"responses": {"200": answer(forms.ServerLive, "The process is alive", forms.ServerLive(live=True))}}
READY = {
    "responses": {
        "200": answer(forms.ServerReady, "The service is ready", forms.ServerReady(ready=True)),
        "503": answer(forms.ServerReady, "The service is loading or stopping", forms.ServerReady(ready=False)),
    }
}
NAMES = operation(answer(forms.ModelNames, "The models", forms.ModelNames([MODEL_NAME])), refused(*OF_MODELS))
METADATA = operation(
    answer(forms.ModelMetadata, "The inputs and outputs", models.metadata(CARD, [CARD])), refused(*OF_A_MODEL)
)
MODEL_READY = operation(
    answer(forms.ModelReady, "The model is ready", forms.ModelReady(MODEL_NAME, ready=True)), not_ready()
)
CONFIGURATION = operation(
    answer(forms.ModelConfiguration, "The configuration", models.configuration(CARD, Settings.model_validate({}))),
    refused(*OF_A_MODEL),
)
STATISTICS = operation(
    answer(forms.Statistics, "The statistics", {"model_stats": [statistics.form(TOTALS)]}), refused(*OF_A_MODEL)
)
INDEX = operation(
    answer(list[forms.VersionEntry], "The versions of all models", [repository.form(each) for each in ENTRIES]),
    refused(*OF_BODIES, errors.Unavailable, errors.DeadlineExceeded),
    requestBody=optional_body(SCHEMA[forms.Index], ready={"ready": True}),
)
LOAD = operation(
    DONE,
    OF_ORDERS,
    requestBody=optional_body(
        order(repository.LOAD_PARAMETERS),
        newest={},
        version={"parameters": {"version": FIRST_VERSION, "default": True}},
    ),
)
UNLOAD = operation(
    DONE,
    OF_ORDERS,
    requestBody=optional_body(
        order(repository.UNLOAD_PARAMETERS), version={"parameters": {"version": FIRST_VERSION}}, all={}
    ),
)
INFER = operation(inferred(), refused(*OF_RUNS), requestBody=INFER_BODY)
INFER["parameters"] = [LENGTH, *HEADERS]

PARAMETERS = {
    "model": path_parameter("model", MODEL_NAME),
    "version": path_parameter("version", FIRST_VERSION),
}
"""The parameters of paths, by name."""
