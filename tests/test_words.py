"""The vocabulary of code and documents: one usual word for one thing, and plain English."""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

from tools.documents import ROOT

FOLDERS = ("twins", "service", "tools", "bench", "examples", "tests", "docs", "docker", "proto")
SUFFIXES = {".py", ".md", ".proto", ".yml", ".toml", ".c"}
RECORDS = ROOT / "docs" / "decisions"  # a record keeps the words of its time
GENERATED = ROOT / "service" / "pb"

REPLACED = re.compile(
    r"\b(mourn\w*|hopeless|dialler|give_back|promising|parcels?|sureness|contenders|(?<!bench[./])pictures?|photos?(?![-/]))\b",
    re.IGNORECASE,
)
"""Words that the project once used for things with a usual name, such as connection, confidence or image.

`photos-val` and `photos/val` are names of data sets and of their folders, and `bench.pictures` is a command.
"""

REPLACED_NAMES = {"Pace", "Fleet", "Place", "Order", "Link", "Row", "Spec", "View", "Scene", "Rendered"}
"""Classes of earlier versions, whose names did not say what they are."""

REPLACED_IDENTIFIERS = {
    *("coming", "cut_off", "emptied", "hear", "heard", "hold", "keep", "leaving", "lowered", "or_else", "orphans"),
    *("pace", "places", "scene", "sick", "told", "trunk"),
}
"""Names of functions and variables of earlier versions, each replaced by one that says what it stands for."""

CHECKED = {"twins", "service", "tools", "bench", "examples"}

VERBS = {
    *("Accept", "Add", "Adjust", "Answer", "Apply", "Ask", "Build", "Call", "Cancel", "Change", "Charge", "Check"),
    *(
        "Classify",
        "Clear",
        "Close",
        "Compare",
        "Compile",
        "Compute",
        "Connect",
        "Convert",
        "Copy",
        "Count",
        "Cover",
        "Create",
    ),
    *("Crop", "Decode", "Delete", "Do", "Download", "Drain", "Draw", "Embed", "Encode", "End", "Ensure"),
    *("Evaluate", "Export", "Fail", "Fetch", "Find", "Fit", "Fold", "Format", "Free", "Give", "Handle", "Ignore"),
    *("Initialise", "Install", "Iterate", "Keep", "List", "Listen", "Load", "Lock", "Log", "Make", "Mark"),
    *("Measure", "Merge", "Mirror", "Normalise", "Note", "Notify", "Open", "Parse", "Pass", "Paste", "Plot"),
    *(
        "Print",
        "Publish",
        "Put",
        "Quantise",
        "Queue",
        "Raise",
        "Read",
        "Receive",
        "Record",
        "Refuse",
        "Release",
        "Remove",
    ),
    *("Render", "Replace", "Report", "Reserve", "Reshape", "Resize", "Restore", "Resume", "Retry", "Return"),
    *(
        "Rewrite",
        "Run",
        "Save",
        "Scale",
        "See",
        "Send",
        "Serve",
        "Set",
        "Sign",
        "Sort",
        "Split",
        "Start",
        "Stop",
        "Submit",
    ),
    *("Take", "Test", "Train", "Translate", "Turn", "Unload", "Update", "Validate", "Verify", "Wait", "Withdraw"),
    *("Write", "Yield"),
}
"""The verbs that docstrings of functions start with, in the imperative. Add a verb here when a docstring needs it."""

GOLDEN_KEY = re.compile(r"facts\[\"pictures\"\]")
"""The golden data keep the key of the program that wrote them."""


def files() -> Iterator[Path]:
    """Yield every source file and document."""
    yield from ROOT.glob("*.md")
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*")):
            kept = path.suffix in SUFFIXES and RECORDS not in path.parents and GENERATED not in path.parents
            if kept and path != Path(__file__):
                yield path


FILES = sorted(files())
MODULES = [path for path in FILES if path.suffix == ".py"]


def where(path: Path) -> str:
    """Return the path of a file in the repository."""
    return path.relative_to(ROOT).as_posix()


def parsed() -> Iterator[tuple[Path, ast.AST]]:
    """Yield every node of every module."""
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            yield path, node


def test_code_and_documents_have_none_of_the_replaced_words():
    texts = ((path, GOLDEN_KEY.sub("", path.read_text("utf-8"))) for path in FILES)
    assert not [f"{where(path)}: {found[0]}" for path, text in texts for found in REPLACED.finditer(text)]


def test_no_class_has_a_replaced_name():
    classes = ((path, node.name) for path, node in parsed() if isinstance(node, ast.ClassDef))
    assert not [f"{where(path)}: {name}" for path, name in classes if name in REPLACED_NAMES]


def test_no_identifier_is_a_replaced_one():
    assert not [f"{where(path)}: {name}" for path in MODULES for name in sorted(names(path) & REPLACED_IDENTIFIERS)]


def test_pixels_without_a_class_have_the_ignore_index_and_are_not_void():
    assert not [
        f"{where(path)}: {name}" for path in MODULES for name in names(path) if "void" in name.lower().split("_")
    ]


def names(path: Path) -> set[str]:
    """Return the identifiers of a module."""
    tokens = tokenize.generate_tokens(io.StringIO(path.read_text("utf-8")).readline)
    return {token.string for token in tokens if token.type == tokenize.NAME}


def test_the_docstring_of_a_function_starts_with_a_verb_in_the_imperative():
    functions = (
        (path, node)
        for path, node in parsed()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and path.relative_to(ROOT).parts[0] in CHECKED
    )
    docstrings = ((path, node.name, ast.get_docstring(node)) for path, node in functions if node.name != "__init__")
    assert not [f"{where(path)}: {name}" for path, name, text in docstrings if text and not is_imperative(text)]


def is_imperative(docstring: str) -> bool:
    """Return whether the first word is a verb in the imperative."""
    return docstring.split(maxsplit=1)[0].rstrip(":,.") in VERBS


@pytest.mark.parametrize(
    "docstring", ["Name of the model.", "Called when a batch has run.", "Returns a mask.", "The mask."]
)
def test_a_noun_a_participle_and_an_article_are_no_imperatives(docstring):
    assert not is_imperative(docstring)
