"""TLS: the certificate that the service shows, and who may be its client. Knows neither HTTP nor gRPC.

The files are read again when they change. Each connection keeps the certificate with which it began.
"""

import ssl
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NoReturn

from service import logs
from service.changes import FollowedFiles
from service.setting_sources import flag_name
from service.settings import Settings, SettingsError

HANDSHAKE_S = 10.0  # after which a connection without a complete handshake is closed
FILES = ("tls_certificate", "tls_key", "tls_client_ca")
KEY_PROBLEMS = {
    "KEY_VALUES_MISMATCH": "it is not the key of the certificate",
    "KEY_TYPE_MISMATCH": "it is not the key of the certificate",
    "EE_KEY_TOO_SMALL": "the key of the certificate is too short to be secure",
}
"""What is wrong with a key beside a readable certificate, by OpenSSL's reason."""

log = logs.get()


@dataclass(frozen=True)
class Identity:
    """One version of the files: their content in PEM, for gRPC, and the same as a context, for HTTP."""

    certificate: bytes
    key: bytes
    client_ca: bytes | None  # None: clients need no certificate
    context: ssl.SSLContext


class Certificates:
    """The identity of the service, which follows its files."""

    def __init__(self, settings: Settings) -> None:
        """Raise SettingsError if the files are broken."""
        self.files = FollowedFiles(
            *(path for name in FILES if (path := getattr(settings, name))),
            read=partial(read, settings),
            problem="the new certificate is not used",
        )
        self.current = read(settings)

    def replace(self, identity: Identity) -> None:
        """Set the identity for new connections. A broken one never comes here, so the old one stays."""
        self.current = identity
        log.info("certificate replaced", file=str(self.files.paths[0]))

    async def follow(self) -> None:
        """Read the files again whenever they change, until cancelled."""
        await self.files.follow(self.replace)


def open_certificates(settings: Settings) -> Certificates | None:
    """Return the certificates that the settings name, or None without TLS. Raise SettingsError if they are broken."""
    return Certificates(settings) if settings.tls_certificate else None


def check(settings: Settings) -> None:
    """Raise SettingsError if the settings name broken files."""
    open_certificates(settings)


def read(settings: Settings) -> Identity:
    """Return the content of the files. Raise SettingsError."""
    certificate, key = content(settings, "tls_certificate"), content(settings, "tls_key")
    client_ca = content(settings, "tls_client_ca") if settings.tls_client_ca else None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    load_authorities(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), settings, "tls_certificate", certificate)
    load_pair(context, settings)
    if client_ca is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # an intermediate authority suffices, as with gRPC
        load_authorities(context, settings, "tls_client_ca", client_ca)
    return Identity(certificate, key, client_ca, context)


def content(settings: Settings, name: str) -> bytes:
    """Return the content of a file. Raise SettingsError if it cannot be read."""
    path: Path = getattr(settings, name)
    try:
        return path.read_bytes()
    except OSError as error:
        raise SettingsError(f"{flag_name(name)}: cannot read {path}: {error.strerror or error}") from error


def load_authorities(context: ssl.SSLContext, settings: Settings, name: str, pem: bytes) -> None:
    """Add the certificates of a file to those that a context trusts. Raise SettingsError if one is broken."""
    try:
        context.load_verify_locations(cadata=pem.decode("ascii", "ignore"))  # comments may have any letters
    except (ssl.SSLError, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        path = getattr(settings, name)
        raise SettingsError(f"{flag_name(name)}: {path} has no readable certificates in PEM ({reason})") from error


def load_pair(context: ssl.SSLContext, settings: Settings) -> None:
    """Add the certificate and its key to a context. Raise SettingsError if they do not work together."""
    certificate, key = str(settings.tls_certificate), str(settings.tls_key)

    def refuse_password() -> NoReturn:
        raise SettingsError(f"{flag_name('tls_key')}: {key} has a password; give a key without one")

    try:
        context.load_cert_chain(certificate, key, refuse_password)
    except OSError as error:
        reason = getattr(error, "reason", None) or error.strerror or ""
        problem = KEY_PROBLEMS.get(reason, f"it is not a private key in PEM ({reason})")
        raise SettingsError(f"{flag_name('tls_key')}: {key} cannot be used: {problem}") from error
