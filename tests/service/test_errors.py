"""The error classes and the table of each protocol."""

import re

import grpc
import pytest

from service import errors
from service.errors import ServiceError
from service.rest import problems
from service.rest.openapi.refusals import PROBLEMS
from service.rpc import statuses

CASES: dict[type[ServiceError], tuple[int, grpc.StatusCode]] = {
    errors.BadRequest: (400, grpc.StatusCode.INVALID_ARGUMENT),
    errors.RequestTimeout: (408, grpc.StatusCode.DEADLINE_EXCEEDED),
    errors.Unauthenticated: (401, grpc.StatusCode.UNAUTHENTICATED),
    errors.ModelControlFailed: (400, grpc.StatusCode.INVALID_ARGUMENT),
    errors.Forbidden: (403, grpc.StatusCode.PERMISSION_DENIED),
    errors.UnknownModel: (404, grpc.StatusCode.NOT_FOUND),
    errors.NotAcceptable: (406, grpc.StatusCode.INVALID_ARGUMENT),
    errors.TooLarge: (413, grpc.StatusCode.INVALID_ARGUMENT),
    errors.UnsupportedMedia: (415, grpc.StatusCode.INVALID_ARGUMENT),
    errors.UnreadableImage: (422, grpc.StatusCode.INVALID_ARGUMENT),
    errors.DecodeTimeout: (422, grpc.StatusCode.INVALID_ARGUMENT),
    errors.Overloaded: (429, grpc.StatusCode.RESOURCE_EXHAUSTED),
    errors.QuotaExceeded: (429, grpc.StatusCode.RESOURCE_EXHAUSTED),
    errors.Cancelled: (499, grpc.StatusCode.CANCELLED),
    errors.Internal: (500, grpc.StatusCode.INTERNAL),
    errors.Refused: (503, grpc.StatusCode.UNAVAILABLE),
    errors.Unavailable: (503, grpc.StatusCode.UNAVAILABLE),
    errors.DeadlineExceeded: (504, grpc.StatusCode.DEADLINE_EXCEEDED),
    errors.DeadlineAlreadyPassed: (504, grpc.StatusCode.DEADLINE_EXCEEDED),
}


def tree(root: type[ServiceError]) -> list[type[ServiceError]]:
    """Return all classes below a class."""
    return [found for child in root.__subclasses__() for found in (child, *tree(child))]


def test_the_documented_table_has_every_class():
    assert set(CASES) == set(tree(ServiceError))


@pytest.mark.parametrize("kind", CASES, ids=lambda kind: kind.__name__)
def test_http_has_an_errors_documented_status(kind):
    assert problems.status(kind("")) == CASES[kind][0]


@pytest.mark.parametrize("kind", CASES, ids=lambda kind: kind.__name__)
def test_grpc_has_an_errors_documented_status(kind):
    assert statuses.status(kind("")) == CASES[kind][1]


def test_no_two_errors_share_a_code():
    codes = [kind.code for kind in CASES]
    assert len(codes) == len(set(codes))


@pytest.mark.parametrize("kind", CASES, ids=lambda kind: kind.__name__)
def test_a_code_is_in_snake_case(kind):
    assert re.fullmatch("[a-z]+(_[a-z]+)*", kind.code)


def test_the_tree_in_the_docstring_shows_every_class():
    drawn = re.findall(r"─ (\w+)", ServiceError.__doc__ or "")
    assert drawn == [kind.__name__ for kind in tree(ServiceError)]


def test_the_openapi_document_has_every_status_but_that_of_a_client_that_disconnects():
    documented = {problems.status(kind("")) for kind in CASES if kind is not errors.Cancelled}
    assert documented == set(PROBLEMS)


def test_a_problem_has_the_code_the_detail_and_the_request_id():
    problem = problems.describe(errors.UnknownModel("no model 'cat' is served"), "id-1")
    assert (problem.code, problem.detail, problem.request_id) == ("unknown_model", "no model 'cat' is served", "id-1")


def test_a_rejection_has_a_retry_after_header():
    response = problems.respond(errors.Overloaded("full", retry_after_s=7), "id-1")
    assert response.headers["retry-after"] == "7"


def test_a_request_without_a_key_is_answered_with_how_to_send_one():
    response = problems.respond(errors.Unauthenticated("no key"), "id-1")
    assert response.headers["www-authenticate"] == "Bearer"


def test_a_request_that_stalls_closes_its_connection():
    assert problems.respond(errors.RequestTimeout("slow"), "id-1").headers["connection"] == "close"


def test_problems_have_their_own_media_type():
    assert problems.respond(errors.Internal(""), "id-1").headers["content-type"] == "application/problem+json"
