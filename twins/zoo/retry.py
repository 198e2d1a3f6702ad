"""Decides whether a download that failed is tried again, and how long to wait before."""

import errno
import logging
import random
import time
from collections.abc import Callable, Iterator, Mapping
from http.client import HTTPException
from typing import TypeVar
from urllib.error import HTTPError

TRIES = 3  # in a row without new bytes
PAUSE_S = 1.0  # after the first try, doubled after each further one, and up to as much more at random
LONGEST_PAUSE_S = 30.0  # of what a server asks for by Retry-After
PASSING = (500, 502, 503, 504)  # HTTP statuses of a server that may recover
FINAL_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES)  # of the disk

Returned = TypeVar("Returned")

log = logging.getLogger(__name__)


def repeatedly(download: Callable[[], Returned], *, final: type[Exception]) -> Returned:
    """Return what the function returns. Raise its last error after several tries, or the first one that is final."""
    for tries in range(1, TRIES):
        try:
            return download()
        except Exception as error:
            if isinstance(error, final) or not may_pass(error):
                raise
            wait(error, tries)
    return download()


def wait(error: Exception, tries: int) -> None:
    """Wait after so many tries, as long as the server asks for if it does."""
    pause_s = min(LONGEST_PAUSE_S, asked_s(error) or PAUSE_S * 2 ** (tries - 1) * (1 + random.random()))  # noqa: S311
    log.warning("a download failed and is tried again in %.1f s: %s", pause_s, error)
    time.sleep(pause_s)


def may_pass(error: Exception) -> bool:
    """Return whether the same download may succeed a little later."""
    for each in causes(error):
        if (status := response_of(each)[0]) is not None:
            return status in PASSING
    return any(is_of_connection(each) for each in causes(error))


def is_of_connection(error: BaseException) -> bool:
    """Return whether an error is one of the network rather than of the disk, or of huggingface_hub without a network.

    The errors of huggingface_hub's HTTP library are known by the name of their class, since the library changes.
    """
    if isinstance(error, OSError):
        return error.errno not in FINAL_ERRORS and type(error).__module__.split(".")[0] != "huggingface_hub"
    return isinstance(error, HTTPException) or any(kind.__name__ == "TransportError" for kind in type(error).__mro__)


def causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and what caused it."""
    yield error
    if error.__cause__ is not None:
        yield from causes(error.__cause__)


def response_of(error: BaseException) -> tuple[int | None, Mapping[str, str]]:
    """Return the status and the headers of the answer that an error is about; None if it is about none."""
    if isinstance(error, HTTPError):
        return error.code, dict(error.headers)
    response = getattr(error, "response", None)
    return getattr(response, "status_code", None), getattr(response, "headers", {})


def asked_s(error: Exception) -> float | None:
    """Return how many seconds a server asks to wait; None if it does not say, or gives a date."""
    for each in causes(error):
        found = {name.lower(): value for name, value in response_of(each)[1].items()}
        if found.get("retry-after", "").isdecimal():
            return float(found["retry-after"])
    return None
