"""Request ids: the client's if it is harmless, else one of ours."""

import re
import secrets

from service.errors import BadRequest

ID_LIMIT = 128  # characters
SAFE = re.compile(rf"[\w.:@/+=-]{{1,{ID_LIMIT}}}", re.ASCII)


def choose_id(given: str) -> str:
    """`given`, or 128 random bits where it is empty or could break a log or a header."""
    return given if SAFE.fullmatch(given) else secrets.token_hex(16)


def check_id(given: str) -> None:
    """Raises BadRequest for an id that would be a burden to carry."""
    if len(given) > ID_LIMIT:
        raise BadRequest(f"the id has {len(given)} characters; at most {ID_LIMIT} are taken")
