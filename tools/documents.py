"""The project's documents, as the tests and generators read them."""

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
ARCHITECTURE = ROOT / "ARCHITECTURE.md"
CONTRIBUTING = ROOT / "CONTRIBUTING.md"
DOCS = ROOT / "docs"
HTTP, GRPC, ERRORS = (DOCS / f"{name}.md" for name in ("http", "grpc", "errors"))
CHECKPOINTS, METRICS, MODELS = (DOCS / f"{name}.md" for name in ("checkpoints", "metrics", "models"))
OPERATIONS, PAPER, RAY, SCALE, SECURITY, SETTINGS = (
    DOCS / f"{name}.md" for name in ("operations", "paper", "ray", "scale", "security", "settings")
)
PAGES = [README, *sorted(DOCS.glob("*.md"))]
"""What users read."""
DECISIONS = sorted((DOCS / "decisions").glob("*.md"))
GOLDEN = ROOT / "tests" / "golden" / "README.md"
TRAINING = ROOT / "examples" / "train" / "README.md"
CARDS = sorted((ROOT / "twins" / "weights").glob("*.md"))
DOCUMENTS = [
    *PAGES,
    ARCHITECTURE,
    CONTRIBUTING,
    TRAINING,
    GOLDEN,
    ROOT / "CHANGELOG.md",
    ROOT / "UPGRADING.md",
    ROOT / "SECURITY.md",
    *DECISIONS,
    *CARDS,
]

FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Example:
    """A fenced block, and the block of results that follows it, if there is one."""

    language: str
    text: str
    expected: str | None = None


def blocks(path: Path) -> list[tuple[str, str]]:
    """Return the language and the text of each fenced block."""
    return [(language, text) for language, text in FENCE.findall(path.read_text("utf-8"))]


def examples(path: Path, language: str, result: str) -> list[Example]:
    """Return the blocks in a language, each with the block of `result` that directly follows it."""
    found = blocks(path)
    after = [*found, ("", "")][1:]
    return [
        Example(kind, text, following if next_kind == result else None)
        for (kind, text), (next_kind, following) in zip(found, after, strict=True)
        if kind == language
    ]


def commands(text: str) -> list[str]:
    """Return the commands of a shell block, each on one line."""
    joined = re.sub(r"(\\|(?<=\|))\n\s*", " ", text)
    return [line.strip() for line in joined.splitlines() if line.strip()]


def prose(path: Path) -> str:
    """Return a document without its fenced blocks."""
    return FENCE.sub("", path.read_text("utf-8"))
