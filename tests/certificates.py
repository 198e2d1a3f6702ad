"""Certificates for tests, issued by authorities that are made for each test."""

import ssl
from pathlib import Path
from typing import NamedTuple

import trustme


class Issued(NamedTuple):
    """A certificate and its key, in files."""

    certificate: Path
    key: Path


class Authority:
    """An authority whose certificate is in a file of a folder."""

    def __init__(self, folder: Path, name: str) -> None:
        self.ca, self.folder = trustme.CA(), folder
        self.file = folder / f"{name}.pem"
        self.ca.cert_pem.write_to_path(self.file)

    def issue(self, name: str) -> Issued:
        """Return a new certificate for this machine in the files of that name, which are replaced if they exist."""
        made = self.ca.issue_cert("localhost", "127.0.0.1")
        files = Issued(self.folder / f"{name}.crt", self.folder / f"{name}.key")
        pem = (b"".join(each.bytes() for each in made.cert_chain_pems), made.private_key_pem.bytes())
        for file, content in zip(files, pem, strict=True):
            new = file.with_suffix(".new")
            new.write_bytes(content)
            new.replace(file)
        return files

    def trusting(self, client: Issued | None = None) -> ssl.SSLContext:
        """Return the context of a client that trusts this authority and shows a certificate, if any."""
        context = ssl.create_default_context(cafile=self.file)
        if client is not None:
            context.load_cert_chain(*client)
        return context
