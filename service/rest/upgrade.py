"""The offer of a client to change the protocol, as to HTTP/2 or WebSocket, which is ignored."""

UPGRADE_HEADERS = (b"upgrade", b"http2-settings")

Header = tuple[bytes, bytes]


def without_offer(headers: list[Header]) -> list[Header]:
    """Return the headers of a request without those of an offer, and what they say of other matters."""
    return [remainder(header) for header in headers if header[0] not in UPGRADE_HEADERS]


def remainder(header: Header) -> Header:
    """Return a header; of `Connection` only what does not offer to change the protocol."""
    name, value = header
    if name != b"connection":
        return header
    tokens = (token.strip() for token in value.split(b","))
    return name, b", ".join(token for token in tokens if token.lower() not in UPGRADE_HEADERS)
