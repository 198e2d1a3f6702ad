"""TLS of the clients: whom they trust, and the certificate that they show."""

import os
import ssl
from dataclasses import dataclass
from pathlib import Path

PemFile = str | os.PathLike[str]


@dataclass(frozen=True)
class Tls:
    """Files in PEM. Without `ca`, the authorities are those that browsers trust, too.

    A service that asks clients for a certificate needs `certificate` and `key`.
    """

    ca: PemFile | None = None
    certificate: PemFile | None = None
    key: PemFile | None = None

    def __post_init__(self) -> None:
        """Raise ValueError for a certificate without its key."""
        if (self.certificate is None) != (self.key is None):
            raise ValueError("a certificate and its key belong together; give both or none")

    def context(self) -> ssl.SSLContext:
        """Return the files for HTTP. Raise OSError."""
        context = ssl.create_default_context(cafile=self.ca)
        if self.certificate is not None:
            context.load_cert_chain(self.certificate, self.key)
        return context

    def contents(self) -> tuple[bytes | None, bytes | None, bytes | None]:
        """Return the files as gRPC takes them: the authorities, the key and the certificate. Raise OSError."""
        ca, key, certificate = (file and Path(file).read_bytes() for file in (self.ca, self.key, self.certificate))
        return ca or None, key or None, certificate or None
