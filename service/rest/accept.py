"""Which of the media types on offer a client likes best (RFC 9110, 12.5.1)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Range:
    """One entry of an `Accept` header: `image/png`, `image/*` or `*/*`, and how much it is liked, 0 to 1."""

    kind: str
    subtype: str
    quality: float = 1.0

    @property
    def precision(self) -> int:
        """How exactly it names a type; the most exact entry that matches a type speaks for it."""
        return (self.kind != "*") + (self.subtype != "*")

    def matches(self, media_type: str) -> bool:
        """Whether it is about that type."""
        kind, _, subtype = media_type.partition("/")
        return self.kind in ("*", kind) and self.subtype in ("*", subtype)


def choose(header: str, offers: Sequence[str]) -> str | None:
    """The best of the offers, the earlier of equal ones; None if the client takes none. An empty header takes all."""
    ranges = parse(header) if header.strip() else [Range("*", "*")]
    liked = [(offer, speaker) for offer in offers if (speaker := speaks_for(offer, ranges)) and speaker.quality > 0]
    return max(liked, key=lambda pair: (pair[1].quality, pair[1].precision))[0] if liked else None


def speaks_for(media_type: str, ranges: Sequence[Range]) -> Range | None:
    """The most exact entry about a type."""
    return max((each for each in ranges if each.matches(media_type)), key=lambda each: each.precision, default=None)


def parse(header: str) -> list[Range]:
    """The entries that can be read; all others are as if they were not there."""
    return [found for text in header.split(",") if (found := parse_one(text)) is not None]


def parse_one(text: str) -> Range | None:
    """One entry. Parameters other than `q` are ignored: no type on offer has any."""
    name, *parameters = (part.strip().lower() for part in text.split(";"))
    kind, slash, subtype = name.partition("/")
    pairs = [parameter.partition("=") for parameter in parameters]
    quality = next((value for key, _, value in pairs if key.strip() == "q"), "1")
    try:
        liked = float(quality)
    except ValueError:
        return None
    if not slash or not kind or not subtype or (kind == "*" and subtype != "*") or math.isnan(liked):
        return None
    return Range(kind, subtype, min(1.0, max(0.0, liked)))
