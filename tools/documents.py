"""The project's documents, read by the tests that compare them with the code."""

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
ARCHITECTURE = ROOT / "ARCHITECTURE.md"
OPERATIONS = ROOT / "docs" / "operations.md"
DECISIONS = sorted((ROOT / "docs" / "decisions").glob("*.md"))
TRAINING = ROOT / "examples" / "train" / "README.md"
CARDS = sorted((ROOT / "twins" / "weights").glob("*.md"))
DOCUMENTS = [README, ARCHITECTURE, TRAINING, OPERATIONS, ROOT / "CHANGELOG.md", *DECISIONS, *CARDS]

FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Example:
    """A fenced block, and the block of results behind it, if there is one."""

    language: str
    text: str
    expected: str | None = None


def blocks(path: Path) -> list[tuple[str, str]]:
    """Language and text of each fenced block."""
    return [(language, text) for language, text in FENCE.findall(path.read_text("utf-8"))]


def examples(path: Path, language: str, result: str) -> list[Example]:
    """Blocks in a language; a block of `result` that follows at once is what it gives."""
    found = blocks(path)
    after = [*found[1:], ("", "")]
    return [
        Example(kind, text, following if next_kind == result else None)
        for (kind, text), (next_kind, following) in zip(found, after, strict=True)
        if kind == language
    ]


def commands(text: str) -> list[str]:
    """The commands of a shell block, each on one line."""
    joined = re.sub(r"(\\|(?<=\|))\n\s*", " ", text)
    return [line.strip() for line in joined.splitlines() if line.strip()]


def prose(path: Path) -> str:
    """A document without its fenced blocks."""
    return FENCE.sub("", path.read_text("utf-8"))
