"""Tables in Markdown, and the markers between which a document has one."""

import re
from collections.abc import Iterable


def table(head: Iterable[str], entries: Iterable[Iterable[str]]) -> str:
    """Return a Markdown table."""
    head = list(head)
    lines = [head, ["---"] * len(head), *entries]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def between(name: str) -> re.Pattern[str]:
    """Return the pattern of the text between the markers of a table."""
    return re.compile(rf"(?<=<!-- {name} -->\n).*?(?=<!-- /{name} -->)", re.DOTALL)
