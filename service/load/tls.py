"""TLS of the commands that call a service: whom they trust, and the certificate that they show."""

import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from twins.errors import BadOption


@dataclass(frozen=True)
class ClientTls:
    """Files in PEM. Without `ca`, the authorities are those that this machine trusts."""

    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None

    def __post_init__(self) -> None:
        """Raise BadOption for a certificate without its key."""
        if (self.certificate is None) != (self.key is None):
            raise BadOption("--certificate and --key belong together; give both or none")

    def context(self) -> ssl.SSLContext:
        """Return the files as HTTP takes them. Raise BadOption."""
        try:
            context = ssl.create_default_context(cafile=self.ca)
            if self.certificate is not None:
                context.load_cert_chain(self.certificate, self.key)
        except OSError as error:
            raise BadOption(f"the files for TLS cannot be used: {error}") from error
        return context

    def contents(self) -> Sequence[bytes | None]:
        """Return the files as gRPC takes them: the authorities, the key and the certificate. Raise BadOption."""
        self.context()  # which finds broken files; gRPC would fail without saying why
        return [file.read_bytes() if file else None for file in (self.ca, self.key, self.certificate)]
