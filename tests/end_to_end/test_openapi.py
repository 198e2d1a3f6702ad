"""The running service conforms to its OpenAPI document."""

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import checks
from schemathesis.specs.openapi import checks as promises

from tests import segmentation
from tests.crafted import encoded
from tests.server import Server


def no_server_error(context, response, case) -> None:
    """Check that the status is not a server error, except for the client's own deadline."""
    if response.status_code != 504:
        checks.not_a_server_error(context, response, case)


CHECKS = [
    no_server_error,
    promises.status_code_conformance,
    promises.content_type_conformance,
    promises.response_schema_conformance,
]
FILES = st.sampled_from([encoded("PNG"), encoded("JPEG")]) | st.binary(max_size=64)
PREDICT, HEALTH = "/predict-here", "/health-here"
VERTEX = {"AIP_PREDICT_ROUTE": PREDICT, "AIP_HEALTH_ROUTE": HEALTH}
OF_A_MODEL = [f"/v2/models/{{model}}{version}" for version in ("", "/versions/{version}")]
OPERATIONS = {
    *("POST /classify", "POST /segment", "POST /detect", "POST /embed", "GET /models", "GET /models/{name}"),
    *("GET /livez", "GET /readyz", "GET /healthz", "GET /metrics"),
    *("GET /v2", "GET /v2/health/live", "GET /v2/health/ready", "GET /v2/models", "GET /v2/models/stats"),
    *(f"GET {path}{suffix}" for path in OF_A_MODEL for suffix in ("", "/ready", "/config", "/stats")),
    *(f"POST {path}/infer" for path in OF_A_MODEL),
    *("POST /v2/repository/index", "POST /v2/repository/models/{model}/load"),
    "POST /v2/repository/models/{model}/unload",
    *("POST /", "POST /models/{model}", "POST /pipeline/{task}", "POST /models/{model}/pipeline/{task}"),
    *("POST /predictions/{model}", "POST /predictions/{model}/{version}", "GET /ping", "POST /invocations"),
    *(f"POST {PREDICT}", f"GET {HEALTH}"),
}
POSTED = sorted(operation for operation in OPERATIONS if operation.startswith("POST"))
EXAMPLES = {"POST /classify": 150, "POST /segment": 60, "POST /detect": 60, "POST /embed": 60}  # of an operation
FEW = 15  # examples of the other operations

for name in ("image/*", "application/octet-stream"):
    schemathesis.openapi.media_type(name, FILES)


@pytest.fixture(scope="module")
def server(tmp_path_factory, detector):
    """Start a service for all tasks."""
    file = segmentation.tiny(tmp_path_factory.mktemp("weights"))
    models = ("twins_svt_nano", f"small={file}", detector)
    flags = (flag for model in models for flag in ("--model", model))
    with Server(*flags, "--max-batch", "1", environ=VERTEX) as running:
        yield running


@pytest.fixture(scope="module")
def document(server):
    """Return the document that the service serves."""
    return schemathesis.openapi.from_url(f"{server.http}/openapi.json")


@pytest.mark.parametrize("operation", sorted(OPERATIONS))
def test_valid_requests_get_documented_answers(document, operation):
    check_with_examples(document, operation, schemathesis.GenerationMode.POSITIVE)


@pytest.mark.parametrize("operation", POSTED)
def test_invalid_requests_get_documented_answers(document, operation):
    check_with_examples(document, operation, schemathesis.GenerationMode.NEGATIVE)


def check_with_examples(document, operation: str, mode: schemathesis.GenerationMode) -> None:
    """Send valid or invalid requests according to the document, and check the answers against it."""
    method, path = operation.split()
    described = document.raw_schema["paths"][path][method.lower()].get("parameters", [])
    names = {each["name"]: each["example"] for each in described if each["in"] == "path"}
    cases = document[path][method].as_strategy(generation_mode=mode)

    @given(cases, st.booleans())
    @settings(
        max_examples=EXAMPLES.get(operation, FEW),
        deadline=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    def check(case: schemathesis.Case, known: bool) -> None:
        if known:  # half of the requests are for the model of the examples, since generated names are unknown
            case.path_parameters.update(names)
        case.call_and_validate(checks=CHECKS)

    check()


def test_the_document_has_every_operation(document):
    assert {result.ok().label for result in document.get_all_operations()} == OPERATIONS


def test_every_reference_in_the_document_can_be_resolved(document):
    known = document.raw_schema["components"]["schemas"]
    assert {name.rpartition("/")[2] for name in references(document.raw_schema)} <= set(known)


def test_the_document_contains_no_defaults_of_the_framework(document):
    assert not {"HTTPValidationError", "ValidationError"} & set(document.raw_schema["components"]["schemas"])


def references(node: object) -> set[str]:
    """Return all `$ref`s below a node."""
    if isinstance(node, dict):
        found = {node["$ref"]} if isinstance(node.get("$ref"), str) else set()
        return found.union(*map(references, node.values()))
    return set().union(*map(references, node)) if isinstance(node, list) else set()
