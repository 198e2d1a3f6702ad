"""The health check of the container. The exit code is 0 if the service is ready.

It reads the variables of the service. With mutual TLS it has no certificate, so it asks a frontend over the Unix socket
of `service.processes.readiness`.
"""

import os
import socket
import ssl
import sys
from http.client import HTTPConnection, HTTPSConnection

TIMEOUT_S = 4
MOST_FRONTENDS = 64
HOST = os.environ.get("TWINS_HOST", "127.0.0.1")
PORT = int(os.environ.get("TWINS_HTTP_PORT", "8000"))


def asked_over_http(connection: HTTPConnection) -> bool:
    """Return whether /readyz answers 200. urllib would use a proxy from the environment."""
    connection.request("GET", "/readyz")
    return connection.getresponse().status == 200


def without_tls() -> bool:
    """Return whether the service is ready."""
    return asked_over_http(HTTPConnection("127.0.0.1", PORT, timeout=TIMEOUT_S))


def with_tls() -> bool:
    """Return whether the service is ready. Its certificate is for another name than this address."""
    context = ssl._create_unverified_context()  # noqa: S323 - the connection does not leave the container
    return asked_over_http(HTTPSConnection("127.0.0.1", PORT, timeout=TIMEOUT_S, context=context))


def with_mutual_tls() -> bool:
    """Return whether the first frontend that runs is ready."""
    for slot in range(MOST_FRONTENDS):
        with socket.socket(socket.AF_UNIX) as frontend:
            frontend.settimeout(TIMEOUT_S)
            if frontend.connect_ex(f"\0twins-ready-{HOST}-{PORT}-{slot}") == 0:
                return frontend.recv(16) == b"ready"
    return False


def main() -> int:
    """Return the exit code."""
    if "TWINS_TLS_CLIENT_CA" in os.environ:
        return not with_mutual_tls()
    return not (with_tls() if "TWINS_TLS_CERTIFICATE" in os.environ else without_tls())


if __name__ == "__main__":
    sys.exit(main())
