"""Compare the documents with the code."""

import hashlib
import importlib
import re
from pathlib import Path
from types import SimpleNamespace
from typing import get_args

import pytest
import yaml

import twins
from service.core import ids, pipeline
from service.decoding import preparation
from service.processes import gpu, slot, supervisor
from service.processes.models import parse_references
from service.rest.connections import Reason
from service.rpc import limits as rpc_limits
from service.rpc import stream
from service.setting_sources import load
from service.settings import Settings
from tools import tables
from tools.documents import (
    ARCHITECTURE,
    CARDS,
    CHECKPOINTS,
    DECISIONS,
    DOCUMENTS,
    GRPC,
    HTTP,
    METRICS,
    OPERATIONS,
    PAGES,
    README,
    ROOT,
    SECURITY,
    SETTINGS,
    blocks,
    prose,
)
from tools.markdown import between
from twins.card import TOP_K_LIMIT
from twins.checkpoints.formats import MMPRETRAIN, TIMM
from twins.images.decode import FORMATS, Limits
from twins.render import RENDERERS
from twins.runtime.batches import BatchRunner
from twins.zoo import labels
from twins.zoo.models import ZOO

APACHE_2 = "c71d239df91726fc519c6eb72d318ec65820627232b2f796219e87dcf35d0ab4"


@pytest.mark.parametrize(("document", "name"), tables.PLACES, ids=lambda part: getattr(part, "name", part))
def test_a_table_matches_the_code(document, name):
    found = between(name).search(document.read_text("utf-8"))
    assert found, f"{document.name} has no <!-- {name} --> … <!-- /{name} -->"
    wanted = tables.TABLES[name]() + "\n"
    assert found[0] == wanted, f"run `python -m tools.tables`, or paste between the markers of {name}:\n\n{wanted}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_have_existing_targets(document):
    for target in re.findall(r"\]\((?!https?:)([^)]+)\)", prose(document)):
        path, _, anchor = target.partition("#")
        linked = (document.parent / path).resolve() if path else document
        assert linked.exists(), target
        if anchor:
            assert anchor in anchors(linked), target


def test_the_readme_links_every_page():
    text = README.read_text("utf-8")
    assert all(f"(docs/{page.name})" in text for page in PAGES if page != README)


def test_the_readme_has_at_most_200_lines():
    assert len(README.read_text("utf-8").splitlines()) <= 200


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_prose_is_wrapped_at_100_columns(document):
    assert not [line for line in prose(document).splitlines() if len(line) > 100 and not is_exempt(line)]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_a_paragraph_has_at_most_five_lines(document):
    paragraphs = [paragraph.strip().splitlines() for paragraph in re.split(r"\n\s*\n|\n(?=- |\d+\. )", prose(document))]
    assert not [lines for lines in paragraphs if len(lines) > 5 and not lines[-1].startswith(("|", "<!--"))]


def is_exempt(line: str) -> bool:
    """Return whether a line may be long: a row of a table, or a line that fits without its link targets."""
    return line.startswith("|") or len(re.sub(r"\]\([^)]*\)", "]", line)) <= 100


def anchors(document: Path) -> set[str]:
    """Return the anchors of the headings of a document."""
    headings = re.findall(r"^#+ (.*)$", document.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_names_of_the_code_exist(document):
    for name in re.findall(r"`((?:service|twins|tests)(?:\.\w+)+)(?:\(\))?`", document.read_text("utf-8")):
        if not name.startswith("twins.v1."):
            resolve(name)


def resolve(name: str) -> object:
    """Return the module, or the object in a module, that a dotted name stands for."""
    module, *rest = name.split(".")
    found: object = importlib.import_module(module)
    for part in rest:
        module = f"{module}.{part}"
        if not hasattr(found, part):
            importlib.import_module(module)
        found = getattr(found, part)
    return found


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_paths_exist(document):
    for path in re.findall(r"`((?:service|twins|tests|proto|docs|examples)/[\w./-]*)`", document.read_text("utf-8")):
        assert (ROOT / path).exists(), path


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_targets_of_make_exist(document):
    makefile = (ROOT / "Makefile").read_text("utf-8")
    for target in re.findall(r"\bmake ([a-z-]+)\b(?=[`\n])", document.read_text("utf-8")):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_the_tree_shows_the_existing_files():
    (tree,) = [text for language, text in blocks(ARCHITECTURE) if language == "tree"]
    shown = set(tree_paths(tree))
    assert not [path for path in shown if not (ROOT / path).exists()]
    modules = {
        path.relative_to(ROOT).as_posix() for name in ("twins", "service") for path in (ROOT / name).glob("*.py")
    }
    assert modules - shown <= {"service/__init__.py"}, "the tree in ARCHITECTURE.md lacks these"


def tree_paths(tree: str) -> list[str]:
    """Return the paths in an annotated tree. Indented ones are in the last folder that is not indented."""
    paths, folder = [], ""
    for line in tree.splitlines():
        names = re.match(r"\s*(\S+(?: {1,2}[\w./]+\.\w+| {1,2}\w+/| {1,2}LICENSE)*)", line)
        assert names, line
        words = [word for word in names[1].split() if "/" in word or "." in word or word in ("Makefile", "LICENSE")]
        if line.startswith("  "):
            paths += [folder + word for word in words]
        else:
            folder = words[0] if words[0].endswith("/") else ""
            paths += words
    return paths


def test_the_reasons_of_refused_connections_match_the_code():
    table = METRICS.read_text().partition("### Refused connections")[2].partition("\n## ")[0]
    documented = {
        (protocol, reason)
        for protocol, reasons in re.findall(r"^\| `(\w+)` \| ([^|]+) \|", table, re.MULTILINE)
        for reason in re.findall(r"`(\w+)`", reasons)
    }
    of_grpc = {reason for limit in rpc_limits.limits_by_kind(Settings()).values() for reason in limit.reasons}
    assert documented == {("http", reason) for reason in get_args(Reason)} | {("grpc", reason) for reason in of_grpc}


def test_the_limits_of_images_match_the_code():
    text = prose(HTTP)
    limits = Limits()
    assert f"{limits.max_bytes // 2**20} MiB, {limits.max_pixels // 10**6} million pixels" in text
    assert f"{limits.max_side:,} pixels a side or {limits.max_frames:,} frames" in text
    assert f"{limits.max_blocks:,} chunks or segments, {limits.max_scans} JPEG scans" in text
    settings = load({}, environ={})
    assert f"{settings.max_body_bytes // 2**20} MiB or {settings.max_images} images in a request" in text
    assert len(FORMATS) == 7


BACKOFF = f"from {slot.FIRST_BACKOFF_S:g} s"
SCRAPE = yaml.safe_load((ROOT / "docker" / "prometheus" / "prometheus.yml").read_text("utf-8"))["global"]
MODEL = SimpleNamespace(card=SimpleNamespace(task="classify"))
WARM_UP_SIZES = BatchRunner(MODEL, "cpu", max_batch=8).sizes()
CLASSES = {name: classes for (_, classes), name in labels.ASSUMED.items()}
LARGEST_MB = preparation.PREPARE_BYTES * Limits.max_pixels // 10**6
FEW_CALLS = [rpc_limits.limits_by_kind(Settings())[kind] for kind in ("keyless", "probe")]
AFTER_GRACE_S = supervisor.MARGIN_S + supervisor.KILL_AFTER_S


@pytest.mark.parametrize(
    ("document", "figure"),
    [
        (ARCHITECTURE, f"doubles {BACKOFF} to {slot.LONGEST_BACKOFF_S:g} s"),
        (OPERATIONS, f"{BACKOFF} up to {slot.LONGEST_BACKOFF_S:g} s"),
        (OPERATIONS, f"every {gpu.INTERVAL_S:g} s"),
        (OPERATIONS, f"`twins:8000/metrics` every {SCRAPE['scrape_interval'].removesuffix('s')} s"),
        (OPERATIONS, f"The service ends within {AFTER_GRACE_S:g} s of the grace"),
        (OPERATIONS, f"batches of {', '.join(map(str, WARM_UP_SIZES[:3]))} and so on"),
        (GRPC, f"while {stream.WIDTH} answers wait"),
        (SECURITY, f"{preparation.PREPARE_BYTES} bytes per pixel are reserved: {LARGEST_MB} MB"),
        (GRPC, f"more than {rpc_limits.FRAMING_BYTES // 2**10} KiB beyond `--max-body-bytes`"),
        *((GRPC, f"| {most.in_all} | {most.per_address} | {most.receive_s:g} s |") for most in FEW_CALLS),
        (SECURITY, f"While a mask is finished, {pipeline.FINISH_BYTES} bytes per pixel"),
        (CHECKPOINTS, f"`blocks.0.0.norm1.weight` | {TIMM.crop} |"),
        (CHECKPOINTS, f"`stages.0.0.norm1.weight` | {MMPRETRAIN.crop} |"),
        (CHECKPOINTS, f"ImageNet's for a classifier of {CLASSES['imagenet1k']} classes"),
        (CHECKPOINTS, f"ADE20K's for a segmentation network of {CLASSES['ade20k']}"),
        (HTTP, f"1 to {TOP_K_LIMIT}"),
        (HTTP, f"1 to {ids.ID_LIMIT} letters"),
    ],
    ids=str,
)
def test_a_figure_matches_the_code(document, figure):
    assert figure in " ".join(document.read_text("utf-8").split())


def test_earlier_deaths_are_forgotten_after_the_documented_time():
    assert slot.STABLE_S == 60
    assert "after a minute of service, earlier deaths are forgotten" in " ".join(prose(OPERATIONS).split())


@pytest.mark.parametrize("task", RENDERERS)
def test_every_format_of_a_task_is_in_its_table(task):
    table = re.split(r"^## ", HTTP.read_text("utf-8"), flags=re.MULTILINE)
    (section,) = [text for text in table if f"`POST /{task}`" in text]
    shown = re.findall(r"^\| `(\w+)` \| (?:`([\w/-]+)`)? ?\| ", section.partition("| `format` |")[2], re.MULTILINE)
    assert not RENDERERS[task].keys() - {"json"} - {name for name, _ in shown}
    for name, media_type in shown:
        assert not media_type or media_type in RENDERERS[task][name].media_types


def test_the_exit_codes_match_the_code():
    given = set(map(int, re.findall(r"^\| (\d+) \|", prose(OPERATIONS), re.MULTILINE)))
    modules = [
        importlib.import_module(name)
        for name in ("service.processes.supervisor", "service.cli.main", "service.cli.classify")
    ]
    assert given == {value for module in modules for name, value in vars(module).items() if name.startswith("EXIT_")}


def test_the_settings_file_is_read(tmp_path):
    (toml,) = [text for language, text in blocks(SETTINGS) if language == "toml"]
    file = tmp_path / "twins.toml"
    file.write_text(toml)
    settings = load({"config": str(file)}, environ={})
    assert len(parse_references(settings)) == 2


@pytest.mark.parametrize("record", DECISIONS, ids=lambda path: path.name)
def test_a_decision_has_four_parts(record):
    parts = re.findall(r"^\*\*(.*?)\.\*\*", record.read_text("utf-8"), re.MULTILINE)
    assert parts == ["Asked", "Tried", "Chosen", "Would change our mind"]


def test_decisions_are_numbered():
    numbers = [path.name[:4] for path in DECISIONS]
    assert all(re.fullmatch(r"\d{3}-", number) for number in numbers)
    assert len(set(numbers)) == len(numbers)


def test_every_model_that_ships_has_its_card():
    cards = {path.stem for path in CARDS}
    assert cards == {path.stem for path in (ROOT / "twins" / "weights").glob("*.safetensors")}
    for name in cards:
        measured = ZOO[name].measured
        assert measured
        assert (ROOT / measured.source).is_file()
        for figure in measured.figures.values():
            assert f"{figure} %" in (ROOT / measured.source).read_text("utf-8")


@pytest.mark.parametrize("path", CARDS, ids=lambda path: path.stem)
def test_a_card_names_the_classes_of_its_model(path):
    assert ", ".join(label.name for label in labels.shipped(ZOO[path.stem].labels)) in path.read_text("utf-8")


@pytest.mark.parametrize(
    "path", [path for path in CARDS if ZOO[path.stem].task == "classify"], ids=lambda path: path.stem
)
def test_a_cards_confusion_is_of_the_models_labels(path):
    lines = [line.strip("| ").split(" | ") for line in path.read_text("utf-8").splitlines() if line.startswith("|")]
    names = [label.name for label in labels.shipped(ZOO[path.stem].labels)]
    assert names in lines, "the head of the table"
    rows = [line for line in lines if line[0] in names and len(line) == len(names) + 1]
    assert [row[0] for row in rows] == names


def test_the_changelog_knows_this_version():
    assert f"## [{twins.__version__}]" in (ROOT / "CHANGELOG.md").read_text("utf-8")


def test_the_licence_is_apache_2():
    assert hashlib.sha256((ROOT / "LICENSE").read_bytes()).hexdigest() == APACHE_2


def test_the_architecture_names_every_process_module():
    text = ARCHITECTURE.read_text("utf-8")
    assert all(
        name in text
        for name in ("service.processes.supervisor", "service.processes.frontend", "service.processes.worker")
    )
