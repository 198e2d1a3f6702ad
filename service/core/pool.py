"""The interface for running samples, in this process or in worker processes."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from service.core.batcher import USUAL_PRIORITY
from service.errors import ServiceError, Unavailable
from twins.card import Card
from twins.tasks.sample import Output, Sample

RETRY_AFTER_S = 2  # about how long a worker takes to come back


@dataclass(frozen=True)
class PoolOutput:
    """A sample's output, and its times in seconds."""

    output: Output
    queue_s: float
    infer_s: float
    batch_size: int
    worker: str = ""  # the worker that ran the sample
    queued_for_others: Mapping[str, int] = field(default_factory=dict)  # samples of other frontends there, by model
    began: float = 0.0  # when its batch began on the device, on the machine's monotonic clock
    batch: str = ""  # the span of its batch as `traceparent` has it, if the sample is traced


class Pool(Protocol):
    """Runs samples. It hides devices and workers from the engine."""

    on_change: list[Callable[[], None]]  # called after every change of the properties below

    @property
    def cards(self) -> Mapping[str, Card]:
        """Return the cards of the models that are served, by key.

        The first of a task is its default, and the first of a name is the default version of that model.
        """

    @property
    def ready(self) -> int:
        """Return the number of workers that can take samples now."""

    @property
    def problems(self) -> Mapping[str, str]:
        """Return why workers that are running do not count as ready, by worker."""

    @property
    def expected(self) -> int:
        """Return the number of workers that should be ready."""

    @property
    def available(self) -> bool:
        """Return whether a sample that is admitted now will find a worker soon."""

    async def submit(
        self, model: str, sample: Sample, *, expires: float, upcoming: int = 0, priority: int = USUAL_PRIORITY
    ) -> PoolOutput:
        """Return one sample's output of one model, which is given by its key. Raise ServiceError.

        `expires` is a time of the monotonic clock. `upcoming` is the number of samples that the caller is still
        preparing. Of the samples that wait, those with a lower number of `priority` run first.
        """

    def close(self) -> None:
        """Fail what is in flight and release everything."""


def no_worker() -> ServiceError:
    """Return the error for requests that no worker can take."""
    return Unavailable("no worker is ready; models may still be loading", retry_after_s=RETRY_AFTER_S)
