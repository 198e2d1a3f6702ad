"""Random ids of requests and spans. They are no secrets."""

import random

RANDOM = random.Random()  # noqa: S311 - a system call for each id takes a twentieth of a frontend


def random_id(size_bytes: int) -> str:
    """Return that many random bytes in hexadecimal digits."""
    return RANDOM.randbytes(size_bytes).hex()
