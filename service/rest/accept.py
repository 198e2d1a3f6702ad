"""Content negotiation: chooses the media type that a client prefers (RFC 9110, 12.5.1)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Range:
    """One entry of an `Accept` header: `image/png`, `image/*` or `*/*`, with its quality from 0 to 1."""

    kind: str
    subtype: str
    quality: float = 1.0

    @property
    def precision(self) -> int:
        """Return how specific the entry is. Of the entries that match a type, the most specific one applies."""
        return (self.kind != "*") + (self.subtype != "*")

    def matches(self, media_type: str) -> bool:
        """Return whether the entry matches a media type."""
        kind, _, subtype = media_type.partition("/")
        return self.kind in ("*", kind) and self.subtype in ("*", subtype)


def choose(header: str, offers: Sequence[str]) -> str | None:
    """Return the preferred offer, the earlier of equal ones, or None if none is acceptable.

    An empty header accepts everything.
    """
    ranges = parse(header) if header.strip() else [Range("*", "*")]
    acceptable = [(offer, entry) for offer in offers if (entry := applicable(offer, ranges)) and entry.quality > 0]
    return max(acceptable, key=lambda pair: (pair[1].quality, pair[1].precision))[0] if acceptable else None


def applicable(media_type: str, ranges: Sequence[Range]) -> Range | None:
    """Return the most specific entry that matches a media type."""
    return max((each for each in ranges if each.matches(media_type)), key=lambda each: each.precision, default=None)


def parse(header: str) -> list[Range]:
    """Return the entries of a header. Malformed entries are ignored."""
    return [found for text in header.split(",") if (found := parse_one(text)) is not None]


def parse_one(text: str) -> Range | None:
    """Return one entry, or None if it is malformed. Parameters other than `q` are ignored: no offer has any."""
    name, *parameters = (part.strip().lower() for part in text.split(";"))
    kind, slash, subtype = name.partition("/")
    pairs = [parameter.partition("=") for parameter in parameters]
    quality = next((text for key, _, text in pairs if key.strip() == "q"), "1")
    try:
        value = float(quality)
    except ValueError:
        return None
    if not slash or not kind or not subtype or (kind == "*" and subtype != "*") or math.isnan(value):
        return None
    return Range(kind, subtype, min(1.0, max(0.0, value)))
