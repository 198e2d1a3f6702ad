"""The port of the gRPC server: in plain text, or over TLS with certificates that may be replaced."""

import grpc

from service.tls import Certificates, Identity


def add_port(server: grpc.aio.Server, address: str, certificates: Certificates | None) -> int:
    """Add a port to a server, with TLS if there are certificates, and return its number. Raises RuntimeError."""
    if certificates is None:
        return int(server.add_insecure_port(address))
    return int(server.add_secure_port(address, credentials(certificates)))


def credentials(certificates: Certificates) -> grpc.ServerCredentials:
    """Return credentials that follow the certificates."""
    first = certificates.current
    return grpc.dynamic_ssl_server_credentials(
        configuration(first),
        Fetcher(certificates),  # type: ignore[arg-type]  # it may return None, as the stubs do not say
        require_client_authentication=first.client_ca is not None,
    )


class Fetcher:
    """Gives a new certificate to the library, which asks before every handshake, from a thread of its own."""

    def __init__(self, certificates: Certificates) -> None:
        self.certificates, self.shown = certificates, certificates.current

    def __call__(self) -> grpc.ServerCertificateConfiguration | None:
        """Return a configuration, or None to keep the last one."""
        current = self.certificates.current
        if current is self.shown:
            return None
        self.shown = current
        return configuration(current)


def configuration(identity: Identity) -> grpc.ServerCertificateConfiguration:
    """Return an identity in the form of the library."""
    return grpc.ssl_server_certificate_configuration([(identity.key, identity.certificate)], identity.client_ca)
