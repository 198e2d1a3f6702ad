"""What a batch made of one sample: an output with its times, or an error of the service."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from service import logs
from service.core.pool import PoolOutput
from service.errors import Internal, ServiceError, Unavailable
from twins.errors import DeviceOutOfMemory, NonFiniteOutput
from twins.runtime.batches import SampleError
from twins.tasks.sample import Output

log = logs.get()


@dataclass(frozen=True)
class SampleResult:
    """One sample's part of a batch, with its times in seconds."""

    output: Output | SampleError
    queue_s: float
    infer_s: float
    batch_size: int
    began: float


def output_of(answer: "asyncio.Future[SampleResult]") -> PoolOutput:
    """Return the output of a sample that is done. Raise ServiceError."""
    with service_errors():
        ran = answer.result()
        if not isinstance(ran.output, Output):
            raise ran.output
    return PoolOutput(ran.output, ran.queue_s, ran.infer_s, ran.batch_size, began=ran.began)


@contextmanager
def service_errors() -> Iterator[None]:
    """Convert errors of a sample to ServiceError."""
    try:
        yield
    except ServiceError:
        raise
    except DeviceOutOfMemory as error:
        log.warning("the device has no memory for one image", detail=str(error))
        raise Unavailable("the device has no memory for this image") from error
    except NonFiniteOutput as error:
        log.error("the network's output is not finite", detail=str(error))
        raise Internal("the model computed no finite scores for this image") from error
    except Exception as error:  # any error of the network
        log.error("forward failed", exc_info=error)
        raise Internal("the model failed on this image") from error
