"""Request ids: the client's if it is harmless, else one of ours."""

import re
import secrets

SAFE = re.compile(r"[\w.:@/+=-]{1,128}", re.ASCII)


def choose_id(given: str) -> str:
    """`given`, or 128 random bits where it is empty or could break a log or a header."""
    return given if SAFE.fullmatch(given) else secrets.token_hex(16)
