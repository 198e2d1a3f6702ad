"""Generate the tables of the documents from the code.

`python -m tools.tables` writes them, and `tests/test_docs.py` compares them.
"""

from collections.abc import Callable, Iterator
from functools import partial
from urllib.parse import urlsplit

import torch
from prometheus_client.metrics import MetricWrapperBase

from service import metric_series
from service.cli.models import figures
from service.cli.serve import default_text
from service.cores import shares
from service.environment import PREFIX
from service.errors import Refused, ServiceError
from service.ray.scale import Scale
from service.rest import problems
from service.rest.endpoints import ENDPOINTS
from service.rpc import statuses
from service.setting_sources import flag_name
from service.settings import Settings
from tools import paper, scale
from tools.documents import ERRORS, HTTP, METRICS, MODELS, OPERATIONS, PAPER, RAY, README, SCALE, SETTINGS
from tools.markdown import between, table
from twins.card import HeadName
from twins.checkpoints import checkpoint
from twins.network.published import BUILDERS
from twins.network.variants import VARIANTS
from twins.tasks.options import Option
from twins.zoo import hub
from twins.zoo.models import ZOO, ZooEntry
from twins.zoo.sources import HubFile, Packaged, Unpublished, Url


def settings() -> str:
    """Return the table of all settings, in the order of the code."""
    entries = (
        (f"`{flag_name(name)}`", f"`{PREFIX}{name.upper()}`", default_of(name), field.description or "")
        for name, field in Settings.model_fields.items()
    )
    return table(("flag", "variable", "default", "meaning"), entries)


def default_of(name: str) -> str:
    """Return the default of a setting as a user would write it."""
    text = default_text(Settings.model_fields[name].default)
    return f"`{text}`" if text else ""


def ray_arguments() -> str:
    """Return the table of the arguments that the application on Ray has beside the settings."""
    fields = Scale.model_fields.items()
    entries = ((f"`{name}`", f"`{field.default}`", field.description or "") for name, field in fields)
    return table(("argument", "default", "meaning"), entries)


def metric_rows() -> Iterator[tuple[str, ...]]:
    """Yield the name, type, labels and meaning of every metric."""
    for collector in vars(metric_series).values():
        if isinstance(collector, MetricWrapperBase):
            (described,) = collector.describe()
            name = described.name + ("_total" if described.type == "counter" else "")
            names = ", ".join(f"`{label}`" for label in collector._labelnames)
            yield f"`{name}`", described.type, names, described.documentation


def metric_table() -> str:
    """Return the table of all metrics."""
    return table(("name", "type", "labels", "meaning"), sorted(metric_rows()))


def models() -> str:
    """Return the table of all models of the zoo."""
    head = ("name", "task", "accuracy, %", "parameters", "licence", "weights", "pinned")
    return table(head, (model_row(name, entry) for name, entry in ZOO.items()))


def model_row(name: str, entry: ZooEntry) -> tuple[str, ...]:
    """Return the row of one model."""
    known = {name: getattr(entry.source, name, None) for name in ("revision", "sha256")}
    pinned = ", ".join(word for word, value in known.items() if value)
    millions = f"{parameters(entry) / 1e6:.1f} M"
    return f"`{name}`", entry.task, figures(entry), millions, entry.licence, place(entry), pinned


def short_models() -> str:
    """Return the table of published accuracies: a row per backbone, a column per head."""
    heads: tuple[HeadName, ...] = ("linear", "fpn", "upernet")
    figures: dict[str, dict[str, float]] = {}
    for entry in ZOO.values():
        if entry.published and entry.head in heads:
            figures.setdefault(entry.variant, {})[entry.head] = next(iter(entry.published.figures.values()))
    rows = ((f"`twins_{variant}`", *(f"{found[head]:.1f}" for head in heads)) for variant, found in figures.items())
    return table(("backbone", "top-1", "mIoU, Semantic FPN", "mIoU, UPerNet"), rows)


SITES = {"download.openmmlab.com": "OpenMMLab", "github.com": "GitHub"}
"""The names of the sites with weights, by host."""


def place(entry: ZooEntry) -> str:
    """Return the source of a model's weights."""
    match entry.source:
        case HubFile(repo=repo):
            return f"`{repo}`"
        case Packaged():
            return "in the package"
        case Url(url=url):
            return SITES[urlsplit(url).hostname or ""]
        case Unpublished():
            return "your own"


def parameters(entry: ZooEntry) -> int:
    """Return the number of parameters of a model."""
    return sum(parameter.numel() for parameter in network(entry).parameters())


def weights() -> str:
    """Return the table of the size of each model's weights in MB, by precision."""
    entries = (
        (f"`{name}`", *(f"{parameters(entry) * size / 1e6:,.0f}" for size in (4, 2))) for name, entry in ZOO.items()
    )
    return table(("model", "float32", "bfloat16, float16"), entries)


def network(entry: ZooEntry) -> torch.nn.Module:
    """Return a model's network without values, which takes no memory."""
    if isinstance(entry.source, Packaged):
        return checkpoint.skeleton(checkpoint.load(hub.packaged(entry.source)))
    build, _ = BUILDERS[entry.head]
    return build(VARIANTS[entry.variant])


def errors() -> str:
    """Return the table of all errors that a client may get."""
    leaves = sorted((kind("") for kind in kinds(ServiceError)), key=problems.status)
    entries = (
        (
            f"`{error.code}`",
            str(problems.status(error)),
            f"`{statuses.status(error).name}`",
            (error.__doc__ or "").strip(),
        )
        for error in leaves
    )
    return table(("code", "HTTP", "gRPC", "when"), entries)


def cores() -> str:
    """Return the table of the processes and threads by the number of cores."""
    head = ("machine", "frontends", "decode threads of each", "threads of a CPU worker", "frontends with a GPU")
    return table(head, (core_row(number) for number in (1, 2, 4, 16, 128)))


def core_row(number: int) -> tuple[str, ...]:
    """Return the row of one number of cores."""
    cpu, gpu = (shares(Settings(), cores=number, gpu=gpu) for gpu in (False, True))
    numbers = (cpu.frontends, cpu.decode_threads, cpu.worker_threads, gpu.frontends)
    return f"{number} cores" if number > 1 else "1 core", *map(str, numbers)


def kinds(root: type[ServiceError]) -> Iterator[type[ServiceError]]:
    """Yield the classes below `root`, without the one that only groups others."""
    for kind in root.__subclasses__():
        if kind is not Refused:
            yield kind
        yield from kinds(kind)


def options(task: str) -> str:
    """Return the table of the options of a task's endpoint."""
    found = ENDPOINTS[task].options.items()
    entries = ((f"`{name}`", values(option), default(option), option.description) for name, option in found)
    return table(("option", "values", "default", "meaning"), entries)


def values(option: Option) -> str:
    """Return the values that an option takes."""
    if option.choices:
        return ", ".join(f"`{choice}`" for choice in option.choices)
    if option.minimum is not None and option.maximum is not None:
        return f"{option.minimum:g} to {option.maximum:g}"
    return {str: "", bool: "`true`, `false`", tuple: "a list, separated by commas or repeated"}[option.kind]


def default(option: Option) -> str:
    """Return the default of an option as a client would write it."""
    return "" if option.default in (None, ()) else f"`{str(option.default).lower()}`"


TABLES: dict[str, Callable[[], str]] = {
    "settings": settings,
    "ray-arguments": ray_arguments,
    "metrics": metric_table,
    "models": models,
    "models-short": short_models,
    "errors": errors,
    "cores": cores,
    "weights": weights,
    **{f"{task}-options": partial(options, task) for task in ENDPOINTS},
    **paper.TABLES,
    **scale.TABLES,
}


PLACES = [
    (README, "models-short"),
    (SETTINGS, "settings"),
    (METRICS, "metrics"),
    (RAY, "ray-arguments"),
    (MODELS, "models"),
    (ERRORS, "errors"),
    (OPERATIONS, "cores"),
    (OPERATIONS, "weights"),
    *((HTTP, f"{task}-options") for task in ENDPOINTS),
    *((PAPER, name) for name in paper.TABLES),
    *((SCALE, name) for name in scale.TABLES),
]


if __name__ == "__main__":
    for document, name in PLACES:
        made = (TABLES[name]() + "\n").replace("\\", r"\\")
        document.write_text(between(name).sub(made, document.read_text("utf-8")), "utf-8")
