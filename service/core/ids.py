"""Request ids: the id that the client sends if it is safe, otherwise a new one."""

import re

from service.errors import BadRequest
from service.random_id import random_id

ID_LIMIT = 128  # characters
ID_BYTES = 16  # of a new id
SAFE = re.compile(rf"[\w.:@/+=-]{{1,{ID_LIMIT}}}", re.ASCII)


def choose_id(given: str) -> str:
    """Return `given`, or 128 random bits if it is empty or could break a log line or a header."""
    return given if SAFE.fullmatch(given) else random_id(ID_BYTES)


def check_id(given: str) -> None:
    """Raise BadRequest if the id is too long."""
    if len(given) > ID_LIMIT:
        raise BadRequest(f"the id has {len(given)} characters; the limit is {ID_LIMIT}")
