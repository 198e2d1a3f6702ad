"""The metrics of all processes as `/metrics` shows them: the Prometheus text format, or OpenMetrics with exemplars."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.metrics_core import Metric as MetricFamily
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.openmetrics import exposition
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector
from prometheus_client.samples import Exemplar, Sample

from service import metric_exemplars, metric_series
from service.metric_exemplars import Key

OPENMETRICS = "application/openmetrics-text"
CONTENT_TYPES = {"text/plain": CONTENT_TYPE_LATEST, OPENMETRICS: exposition.CONTENT_TYPE_LATEST}
"""The formats of /metrics, the usual one first."""

END = b"# EOF\n"  # of the metrics in OpenMetrics


def render(*, openmetrics: bool = False) -> bytes:
    """Return the metrics of all processes in the Prometheus text format, or in OpenMetrics with exemplars.

    After OpenMetrics, `END` must follow.
    """
    if openmetrics:
        text: bytes = exposition.generate_latest(WithExemplars(of_all_processes()))  # type: ignore[no-untyped-call]
        return text.removesuffix(END)
    return generate_latest(of_all_processes())


class WithExemplars:
    """The metrics of a registry with the exemplars of all processes."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry

    def collect(self) -> Iterator[MetricFamily]:
        """Yield the metrics."""
        found = metric_series.EXEMPLARS.of_all_processes() if metric_series.EXEMPLARS else {}
        for family in self.registry.collect():
            if family.type == "histogram":
                family.samples = [with_exemplar(sample, found) for sample in family.samples]
            yield family


def with_exemplar(sample: Sample, found: Mapping[Key, metric_exemplars.Exemplar]) -> Sample:
    """Return a value with its exemplar, if it has one."""
    exemplar = found.get((sample.name, tuple(sorted(sample.labels.items()))))
    if exemplar is None:
        return sample
    return sample._replace(exemplar=Exemplar(exemplar.marks, exemplar.value, exemplar.timestamp))


class FolderMissing(Exception):
    """The folder of the metrics has been deleted, and is not restored yet."""


def of_all_processes() -> CollectorRegistry:
    """Return the registry that reads the files of all processes. Raise FolderMissing."""
    registry = CollectorRegistry()
    try:
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    except ValueError as error:  # the folder is no folder
        raise FolderMissing from error
    return registry


@dataclass(frozen=True)
class Value:
    """The value of one series."""

    name: str  # with its suffix, such as `twins_requests_total`
    labels: Mapping[str, str]
    value: float


def read() -> list[Value]:
    """Return the values of all processes."""
    return [
        Value(sample.name, sample.labels, sample.value)
        for family in of_all_processes().collect()
        for sample in family.samples
    ]


class Families(Collector):
    """Metrics that are collected already."""

    def __init__(self, families: Iterable[MetricFamily]) -> None:
        self.families = families

    def collect(self) -> Iterable[MetricFamily]:
        """Return the metrics."""
        return self.families


def merged(pages: Mapping[str, bytes], *, label: str, openmetrics: bool = False) -> bytes:
    """Return the metrics of several services, each in the text format, as one. `label` says whose a series is.

    After OpenMetrics, which has no exemplars here, `END` must follow.
    """
    families: dict[str, MetricFamily] = {}
    for name, page in pages.items():
        for family in text_string_to_metric_families(page.decode()):
            known = families.setdefault(family.name, MetricFamily(family.name, family.documentation, family.type))
            known.samples += [sample._replace(labels={**sample.labels, label: name}) for sample in family.samples]
    registry = CollectorRegistry()
    registry.register(Families(families.values()))
    if openmetrics:
        text: bytes = exposition.generate_latest(registry)  # type: ignore[no-untyped-call]
        return text.removesuffix(END)
    return generate_latest(registry)
