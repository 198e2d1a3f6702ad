"""Download large files. An interrupted download is resumed, and the whole file is checked.

urllib reads the usual proxy variables. Only HTTPS is allowed, except for the loopback interface.
"""

import errno
import hashlib
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import BaseHandler, Request, build_opener

from filelock import FileLock

from twins.zoo import retry

TIMEOUT_S = 30.0  # without a byte
CHUNK = 1 << 20  # bytes
LOOPBACK = ("127.0.0.1", "localhost", "::1")
NO_SPACE = (errno.ENOSPC, errno.EDQUOT)
PARTIAL, TOO_FAR = 206, 416  # HTTP statuses: the rest of the file; a range after its end


def fetch(url: str, path: Path, *, sha256: str) -> None:
    """Download the file at `url` to `path`, completely or not at all, with a progress bar.

    `sha256` is the digest of the file or its beginning, and empty if it is not known. If several processes download
    the same file, one does and the others wait. Raise OSError or HTTPException if the download fails, and ValueError
    if the digest is wrong.
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
            raise ValueError(f"the download is damaged: its sha256 is {found} and should begin with {sha256}")
        part.replace(path)


def complete(url: str, part: Path) -> None:
    """Resume the download of `part` until it is complete. Give up after several attempts without new bytes.

    A part that the disk has no space for is deleted.
    """
    idle = 0
    while True:
        before = size(part)
        try:
            return continue_once(url, part)
        except (OSError, HTTPException) as error:
            idle = idle + 1 if size(part) <= before else 0
            if isinstance(error, OSError) and error.errno in NO_SPACE:
                part.unlink(missing_ok=True)
            if idle >= retry.TRIES or not retry.may_pass(error):
                raise
            if idle:
                retry.wait(error, idle)


def continue_once(url: str, part: Path) -> None:
    """Download the rest of `part`. Raise ConnectionError if the connection ends early."""
    start = size(part)
    request = Request(allowed(url), headers={"Range": f"bytes={start}-"} if start else {})  # noqa: S310
    try:
        response = OPENER.open(request, timeout=TIMEOUT_S)
    except HTTPError as error:
        if start and error.code == TOO_FAR:  # the file is complete or too long; the digest decides
            return
        raise
    with response:
        resumed = response.status == PARTIAL
        receive(response, part, start if resumed else 0)


def receive(response: HTTPResponse, part: Path, start: int) -> None:
    """Write the body of a response to `part` from offset `start`."""
    from huggingface_hub.utils.tqdm import tqdm  # imported here, since only downloads need it

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


def allowed(url: str) -> str:
    """Return the URL if its scheme is allowed. Raise ValueError otherwise."""
    parts = urlsplit(url)
    if parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in LOOPBACK):
        return url
    raise ValueError(f"{url} is not an https address")


class CheckRedirects(BaseHandler):
    """Reject redirects to URLs that are not allowed."""

    def http_request(self, request: Request) -> Request:
        """Return the request unchanged. Raise ValueError if its URL is not allowed."""
        allowed(request.full_url)
        return request

    ftp_request = http_request


OPENER = build_opener(CheckRedirects)


def size(path: Path) -> int:
    """Return the size of a file in bytes, or 0 if it does not exist."""
    return path.stat().st_size if path.is_file() else 0


def digest(path: Path) -> str:
    """Return the sha256 of a file in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
