"""Errors in gRPC: a status; the code and the request's id are in the trailing metadata."""

from collections.abc import Iterator

import grpc

from service import errors
from service.errors import ServiceError

STATUS: dict[type[ServiceError], grpc.StatusCode] = {
    errors.BadRequest: grpc.StatusCode.INVALID_ARGUMENT,
    errors.RequestTimeout: grpc.StatusCode.DEADLINE_EXCEEDED,
    errors.Unauthenticated: grpc.StatusCode.UNAUTHENTICATED,
    errors.Forbidden: grpc.StatusCode.PERMISSION_DENIED,
    errors.UnknownModel: grpc.StatusCode.NOT_FOUND,
    errors.Overloaded: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.Refused: grpc.StatusCode.UNAVAILABLE,
    errors.DeadlineExceeded: grpc.StatusCode.DEADLINE_EXCEEDED,
    errors.Cancelled: grpc.StatusCode.CANCELLED,
    errors.Internal: grpc.StatusCode.INTERNAL,
}


def status(error: ServiceError) -> grpc.StatusCode:
    """Return the status of the error's nearest ancestor in the table."""
    return next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)


def classes(root: type[ServiceError]) -> Iterator[type[ServiceError]]:
    """Yield all classes below a class."""
    for kind in root.__subclasses__():
        yield kind
        yield from classes(kind)


STATUS_OF_CODE = {kind.code: status(kind("")) for kind in classes(ServiceError)}
"""The status of each stable code."""
