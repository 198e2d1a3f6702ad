"""The core: one call from admission to answer, the same for every protocol.

Limits, deadlines, keys, counting and logging happen here and nowhere else.
"""

import asyncio
import hmac
import math
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from service import errors, logs, metrics
from service.core.admission import Admission
from service.core.call import Answer, Call, Caller, Outcome, Timing
from service.errors import (
    BadRequest,
    Cancelled,
    DeadlineAlreadyPassed,
    DeadlineExceeded,
    Internal,
    Overloaded,
    ServiceError,
    TooLarge,
    UnknownModel,
)
from service.ipc.pool import WorkerPool, no_worker
from service.ipc.transport import WorkerStates
from service.settings import Settings, cores
from twins.card import Card
from twins.errors import BadOption
from twins.images import decode
from twins.images.decode import DecodedImage, ImageError
from twins.tasks import TASKS
from twins.tasks.sample import Output, Sample

IMAGE_ERRORS: dict[type[ImageError], type[ServiceError]] = {
    decode.NotAnImage: errors.UnsupportedMedia,
    decode.TooLarge: errors.TooLarge,
    decode.Undecodable: errors.UnreadableImage,
}

SHORTEST_TIMEOUT_S = 0.001  # with less left, the deadline counts as passed: that is the client's fault

log = logs.get()


@dataclass(frozen=True)
class Prepared:
    """An image on its way to a worker, and the seconds it took so far."""

    sample: Sample
    image: DecodedImage | None  # kept where the answer shows it
    decode_s: float
    preprocess_s: float


class Engine:
    """One frontend's core."""

    def __init__(self, settings: Settings, pool: WorkerPool) -> None:
        self.settings, self.pool = settings, pool
        self.admission = Admission(max_queue=settings.max_queue)
        self.cpu = ThreadPoolExecutor(settings.decode_threads or cores(), "decode")
        self.cards: dict[str, Card] = {}
        self.keys = tuple(key.get_secret_value().encode() for key in settings.api_keys)
        self.reserved_bytes = 0  # of all requests that are not answered yet
        self.stopping = False  # not ready any more, but serving on
        self.closing = asyncio.Event()  # streams end
        self.on_ready_change: list[Callable[[bool], None]] = []

    # ------------------------------------------------------------------ life

    @property
    def ready(self) -> bool:
        """Whether new clients should come here."""
        return self.pool.ready > 0 and not self.stopping

    def update(self, states: WorkerStates) -> None:
        """Takes the supervisor's news."""
        self.pool.update(states)
        self.cards = {card.name: card for card in states.cards}
        self.notify_readiness()

    def start_draining(self) -> None:
        """Not ready any more, but serving on."""
        self.stopping = True
        self.notify_readiness()

    def close(self) -> None:
        """Asks streams to end, too."""
        self.closing.set()

    def notify_readiness(self) -> None:
        """Tells those who show readiness."""
        for notify in self.on_ready_change:
            notify(self.ready)

    # ------------------------------------------------------------------ calls

    @contextmanager
    def call(self, caller: Caller) -> Iterator[Outcome]:
        """A call's whole time, from its headers to its answer; counted and logged once. Lets only ServiceErrors out."""
        longest_s = self.settings.request_timeout_s
        timeout_s = longest_s if caller.timeout_s is None else min(caller.timeout_s, longest_s)
        outcome = Outcome(caller, caller.arrived + timeout_s)
        try:
            if math.isnan(timeout_s):
                raise BadRequest("the request's timeout must be a number of seconds above 0")
            if timeout_s < SHORTEST_TIMEOUT_S:
                raise DeadlineAlreadyPassed("the deadline had passed when the request arrived; set a later one")
            yield outcome
        except ServiceError as error:
            outcome.code = error.code
            raise
        except BadOption as error:
            outcome.code = BadRequest.code
            raise BadRequest(str(error)) from error
        except TimeoutError as error:
            outcome.code = DeadlineExceeded.code
            raise DeadlineExceeded(f"no answer within {timeout_s:g} s") from error
        except asyncio.CancelledError:
            outcome.code = Cancelled.code
            raise
        except Exception as error:
            outcome.code = Internal.code
            log.error("unforeseen error", request_id=caller.request_id, exc_info=error)
            raise Internal("see the server's log under this request's id") from error
        finally:
            self.reserved_bytes -= outcome.reserved_bytes
            self.record(outcome)

    def refused(self, caller: Caller, code: str) -> None:
        """Counts and logs what never became a call, such as a request to an unknown path."""
        self.record(Outcome(caller, caller.arrived, code=code))

    def record(self, outcome: Outcome) -> None:
        """Counts and logs a call."""
        duration_s = asyncio.get_running_loop().time() - outcome.caller.arrived
        metrics.request(outcome.model, outcome.caller.protocol, outcome.code, duration_s)
        log.info(
            "request",
            request_id=outcome.caller.request_id,
            protocol=outcome.caller.protocol,
            model=outcome.model,
            images=outcome.images,
            code=outcome.code,
            ms=round(duration_s * 1000, 1),
        )

    async def predict(self, call: Call, outcome: Outcome) -> list[Answer | ServiceError]:
        """Every image's answer or error, in order; raises ServiceError where the whole call fails."""
        outcome.images = len(call.images)
        card = self.card(call.model, call.task)
        outcome.model = card.name
        self.check_number(call.images)
        self.check_options(call, card)
        if not self.pool.available:
            raise no_worker()
        images, workers = len(call.images), self.pool.ready
        with self.admission.admitted(images, model=card.name, deadline=outcome.deadline, workers=workers):
            async with asyncio.timeout_at(outcome.deadline), asyncio.TaskGroup() as group:
                parts = [group.create_task(self.one(data, card, call, outcome)) for data in call.images]
            return [part.result() for part in parts]

    async def predict_one(self, call: Call, outcome: Outcome) -> Answer:
        """The answer of a call with one image. Raises ServiceError."""
        (answer,) = await self.predict(call, outcome)
        if isinstance(answer, ServiceError):
            raise answer
        return answer

    async def one(self, data: bytes | ServiceError, card: Card, call: Call, outcome: Outcome) -> Answer | ServiceError:
        """One image's answer or error."""
        if isinstance(data, ServiceError):
            return data
        loop = asyncio.get_running_loop()
        encoded = [data]  # emptied if the call ends first: the executor may keep its work for long
        try:
            with self.admission.prepared():
                prepared = await loop.run_in_executor(self.cpu, self.prepare, encoded, card, call)
            if prepared.image:
                self.reserve_bytes(outcome, 3 * prepared.image.width * prepared.image.height)
            upcoming = self.admission.preparing
            pooled = await self.pool.submit(card.name, prepared.sample, expires=outcome.deadline, upcoming=upcoming)
        except ServiceError as error:
            return error
        finally:
            encoded.clear()
        self.admission.device_times[card.name].record(pooled.infer_s, pooled.batch_size)
        began = loop.time()
        result = await loop.run_in_executor(self.cpu, finish, pooled.output, card, call, prepared.image)
        finish_s = loop.time() - began
        timing = Timing(prepared.decode_s, prepared.preprocess_s, pooled.queue_s, pooled.infer_s, finish_s)
        for stage in metrics.STAGES:
            metrics.stage(card.name, stage, getattr(timing, stage))
        return Answer(result, timing)

    def prepare(self, encoded: list[bytes], card: Card, call: Call) -> Prepared:
        """A sample from the image file in the encoded. Raises ServiceError."""
        began = time.perf_counter()
        if not encoded:
            raise Cancelled("the call ended before its image was looked at")
        try:
            image = decode.decode(
                encoded.pop(), self.settings.image_limits, exif_orientation=self.exif_orientation(card)
            )
        except ImageError as error:
            metrics.image_refused(error.reason)
            raise IMAGE_ERRORS[type(error)](str(error)) from error
        decoded = time.perf_counter()
        sample = TASKS[call.task].preprocess(image, card, call.options)
        kept = image if call.render_options and call.render_options.needs_image else None
        return Prepared(sample, kept, decoded - began, time.perf_counter() - decoded)

    # ------------------------------------------------------------------ rules

    def authenticate(self, key: str | None) -> None:
        """Raises Unauthenticated unless the key is one of the settings', where they have any."""
        if self.keys and not (key and any(hmac.compare_digest(key.encode(), known) for known in self.keys)):
            raise errors.Unauthenticated("send a key as `Authorization: Bearer KEY`")

    def served(self) -> list[Card]:
        """All models' cards; the first of a task is its default. Raises Unavailable while loading."""
        if not self.cards:
            raise no_worker()
        return list(self.cards.values())

    def card(self, name: str | None, task: str | None = None) -> Card:
        """A served model's card. Raises UnknownModel, BadRequest for another task's, Unavailable while loading."""
        served = self.served()
        if name is None:
            if (first := next((card for card in served if task and TASKS[task].serves(card)), None)) is None:
                raise UnknownModel(f"no model for the task {task} is served; served: {', '.join(self.cards)}")
            return first
        if name not in self.cards:
            raise UnknownModel(f"no model {name[:80]!r} is served; served: {', '.join(self.cards)}")
        card = self.cards[name]
        if task is not None and not TASKS[task].serves(card):
            raise BadRequest(f"the model {name} is for the task {card.task}; it cannot {task}")
        return card

    def reserve_bytes(self, outcome: Outcome, size_bytes: int) -> None:
        """Accounts for a piece of a request, up to the call's end. Raises Overloaded where memory would run short."""
        if self.reserved_bytes + size_bytes > self.settings.max_held_bytes:
            raise Overloaded(f"requests of {self.reserved_bytes} bytes are waiting", retry_after_s=1)
        self.reserved_bytes += size_bytes
        outcome.reserved_bytes += size_bytes

    def check_number(self, images: tuple[object, ...]) -> None:
        """Refuses too few and too many images."""
        if not images:
            raise BadRequest("no image in the request")
        most = min(self.settings.max_images, self.settings.max_queue)
        if len(images) > most:
            raise TooLarge(f"{len(images)} images in a request; at most {most} are taken")

    def check_options(self, call: Call, card: Card) -> None:
        """Raises BadOption for what the model does not have, before any image costs anything."""
        TASKS[call.task].check(call.options, card)
        if call.render_options:
            call.render_options.check(card)

    def exif_orientation(self, card: Card) -> bool:
        """Whether images are turned as their EXIF tag says."""
        return {"always": True, "never": False, "model": card.exif_orientation}[self.settings.exif]


def finish(output: Output, card: Card, call: Call, image: DecodedImage | None) -> Any:
    """Return the result of an output, rendered if the call asks for it. All this work is done in a thread."""
    result = TASKS[call.task].postprocess(output, card, call.options)
    return call.render_options.render(result, card, image) if call.render_options else result
