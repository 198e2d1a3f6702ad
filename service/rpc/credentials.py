"""The credentials of the gRPC server: none, or TLS with certificates that may be replaced."""

import grpc

from service.tls import Certificates, Identity


def credentials(certificates: Certificates | None) -> grpc.ServerCredentials:
    """Return the credentials of a server, without TLS if there are no certificates."""
    if certificates is None:
        return grpc.insecure_server_credentials()
    first = certificates.current
    return grpc.dynamic_ssl_server_credentials(
        configuration(first), Fetcher(certificates), require_client_authentication=first.client_ca is not None
    )


class Fetcher:
    """Returns a new certificate to the library, which asks before every handshake in a thread of its own."""

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
