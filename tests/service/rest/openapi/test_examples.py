"""The OpenAPI document: every form and error has an example, and every example fits its schema."""

import io

import msgspec
import numpy as np
import pytest
from PIL import Image

from service import errors
from service.errors import ServiceError
from service.rest import problems
from tests.openapi import OPERATIONS, Operation, contents, file, invalid
from tests.service.test_errors import tree

UNSEEN = {errors.Cancelled, errors.Refused}
"""Errors that no client reads: it has gone, or only the classes below are raised."""


def opened(content: bytes) -> None:
    """Check that a file is an image."""
    Image.open(io.BytesIO(content)).verify()


READERS = {"image/": opened, "application/x-npy": lambda content: np.load(io.BytesIO(content))}
"""What reads an example of a media type, by its beginning."""

operations = pytest.mark.parametrize("operation", OPERATIONS, ids=str)


@operations
def test_every_form_of_a_request_has_an_example(operation: Operation):
    assert all(form["examples"] for form in operation.forms.values())


@operations
def test_every_answer_has_an_example(operation: Operation):
    assert operation.answers
    assert all(content for content in operation.answers.values())
    assert all(form["examples"] for content in operation.answers.values() for form in content.values())


@operations
def test_every_parameter_in_the_path_and_every_header_has_an_example(operation: Operation):
    assert all(
        "example" in each or each.get("examples") for each in operation.parameters if each["in"] in ("path", "header")
    )


@operations
def test_an_error_is_at_its_status(operation: Operation):
    statuses = {kind.code: problems.status(kind("")) for kind in tree(ServiceError)}
    assert {code: status for code, (status, _) in operation.errors.items()}.items() <= statuses.items()


def test_every_error_that_clients_read_has_an_example():
    codes = {code for operation in OPERATIONS for code in operation.errors}
    assert codes == {kind.code for kind in set(tree(ServiceError)) - UNSEEN}


@operations
def test_examples_in_json_fit_their_schemas(operation: Operation):
    described = [(schema, example["value"]) for *_, schema, example in contents(operation) if "value" in example]
    assert not [problem for schema, value in described for problem in invalid(value, schema)]


@operations
def test_examples_of_parameters_fit_their_schemas(operation: Operation):
    described = [
        (each["schema"], value)
        for each in operation.parameters
        for value in (each.get("example"), *(example["value"] for example in each.get("examples", {}).values()))
        if value is not None
    ]
    assert not [problem for schema, value in described for problem in invalid(value, schema)]


@operations
def test_examples_that_are_files_can_be_read(operation: Operation):
    files = [(media_type, file(each)) for _, media_type, _, each in contents(operation) if "externalValue" in each]
    assert all(content for _, content in files)
    for media_type, content in files:
        for beginning, read in READERS.items():
            if media_type.startswith(beginning):
                read(content)


def test_a_value_that_does_not_fit_is_found():
    error = next(operation.errors["bad_request"][1] for operation in OPERATIONS if operation.errors)
    schema = {"$ref": "#/components/schemas/Problem"}
    assert not invalid(error, schema)
    assert invalid({**error, "status": "400"}, schema)
    assert invalid(msgspec.to_builtins({}), schema)
