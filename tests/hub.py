"""A small Hugging Face hub on the loopback interface. Every file has the same content; requests are recorded."""

import hashlib
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"
ROUTE = re.compile(r"/(?P<repo>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<file>.+)")


@dataclass
class Hub:
    """The content of the hub, its faults, and the requests so far."""

    content: bytes
    url: str = ""
    missing: set[str] = field(default_factory=set)  # files that no repository has
    refuse_with: int | None = None  # answer with this status
    refusals: list[int] = field(default_factory=list)  # answer the next requests with these statuses
    token: str | None = None  # require this token
    break_after: int | None = None  # end the first download after this many bytes
    requests: list[str] = field(default_factory=list)  # paths, or whole URLs for requests through a proxy

    @property
    def sha256(self) -> str:
        """Return the digest of the file."""
        return hashlib.sha256(self.content).hexdigest()


@contextmanager
def running(content: bytes) -> Iterator[Hub]:
    """Run a hub until the block ends."""
    hub = Hub(content)

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_) -> None:
            """Log nothing."""

        def do_HEAD(self) -> None:
            self.answer()

        def do_GET(self) -> None:
            self.answer()

        def answer(self) -> None:
            found = ROUTE.fullmatch(urlsplit(self.path).path)
            if found is None:  # other requests of the client library
                self.refuse(404)
                return
            hub.requests.append(self.path)
            if hub.refusals:
                self.refuse(hub.refusals.pop(0))
            elif hub.refuse_with:
                self.refuse(hub.refuse_with)
            elif found["file"] in hub.missing:
                self.refuse(404, "EntryNotFound")
            elif hub.token and self.headers.get("Authorization") != f"Bearer {hub.token}":
                self.refuse(401)
            else:
                self.serve(found["revision"])

        def refuse(self, status: int, code: str = "RepoNotFound") -> None:
            self.send_response(status)
            if status == 404:
                self.send_header("X-Error-Code", code)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def serve(self, revision: str) -> None:
            start = int((self.headers.get("Range") or "bytes=0-")[6:].partition("-")[0])
            body = hub.content[start:]
            self.send_response(206 if start else 200)
            self.send_header("X-Repo-Commit", revision if len(revision) == 40 else COMMIT)
            self.send_header("ETag", f'"{hub.sha256}"')
            self.send_header("X-Linked-Size", str(len(hub.content)))
            self.send_header("Content-Length", str(len(body)))
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(hub.content) - 1}/{len(hub.content)}")
            self.end_headers()
            if self.command == "GET":
                end, hub.break_after = hub.break_after, None
                self.wfile.write(body[:end])
                self.close_connection = end is not None

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
