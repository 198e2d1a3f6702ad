"""Downloads a large file so that nothing is fetched twice: what an interruption left is continued, and checked whole.

The proxy variables act as everywhere: urllib reads them. Only HTTPS is spoken, but to this machine itself.
"""

import hashlib
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import BaseHandler, Request, build_opener

from filelock import FileLock

TIMEOUT_S = 30.0  # without a byte
ATTEMPTS = 4  # in a row that bring nothing new
CHUNK = 1 << 20  # bytes
LOOPBACK = ("127.0.0.1", "localhost", "::1")
PARTIAL, TOO_FAR = 206, 416  # HTTP: the rest of a file; nothing there is left to send


def fetch(url: str, path: Path, *, sha256: str) -> None:
    """Puts the file at `url` to `path`, whole or not at all, with a progress bar.

    `sha256` is its hash or the beginning of it. Several processes may ask for one file: one fetches it, the others
    wait. Raises OSError, HTTPException, or ValueError for what came but is not the file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    with FileLock(path.with_name(path.name + ".lock")):
        if path.is_file():
            return
        complete(url, part)
        found = digest(part)
        if not found.startswith(sha256):
            part.unlink()
            raise ValueError(f"what came is damaged: its sha256 is {found}, which does not begin with {sha256}")
        part.replace(path)


def complete(url: str, part: Path) -> None:
    """Continues `part` until it is complete, through interruptions as long as each attempt brings something."""
    idle = 0
    while True:
        before = size(part)
        try:
            return continue_once(url, part)
        except HTTPError:
            raise
        except (OSError, HTTPException):
            idle = idle + 1 if size(part) <= before else 0
            if idle >= ATTEMPTS:
                raise


def continue_once(url: str, part: Path) -> None:
    """Fetches what `part` lacks. Raises ConnectionError when the other side ends too early."""
    start = size(part)
    request = Request(checked(url), headers={"Range": f"bytes={start}-"} if start else {})  # noqa: S310
    try:
        response = OPENER.open(request, timeout=TIMEOUT_S)
    except HTTPError as error:
        if start and error.code == TOO_FAR:  # all of it is here, or more: the hash will tell
            return
        raise
    with response:
        resumed = response.status == PARTIAL
        receive(response, part, start if resumed else 0)


def receive(response: HTTPResponse, part: Path, start: int) -> None:
    """Writes a response's body into `part` from `start` on."""
    from huggingface_hub.utils.tqdm import tqdm  # imported late: only those who fetch should pay for it

    announced = response.headers.get("Content-Length")
    total = start + int(announced) if announced else None
    with (
        part.open("r+b" if start else "wb") as file,
        tqdm(desc=part.stem, total=total, initial=start, unit="B", unit_scale=True, unit_divisor=1024) as bar,
    ):
        file.seek(start)
        while chunk := response.read(CHUNK):
            bar.update(file.write(chunk))
    if total is not None and size(part) < total:
        raise ConnectionError(f"the connection ended after {size(part)} of {total} bytes")


def checked(url: str) -> str:
    """The address, if it may be spoken to. Raises ValueError."""
    parts = urlsplit(url)
    if parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in LOOPBACK):
        return url
    raise ValueError(f"{url} is no https address")


class OnlyChecked(BaseHandler):
    """Lets no redirect lead to an address that could not have been given in the first place."""

    def http_request(self, request: Request) -> Request:
        """The request itself. Raises ValueError."""
        checked(request.full_url)
        return request

    ftp_request = http_request


OPENER = build_opener(OnlyChecked)


def size(path: Path) -> int:
    """Bytes of a file; 0 where there is none."""
    return path.stat().st_size if path.is_file() else 0


def digest(path: Path) -> str:
    """A file's sha256, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
