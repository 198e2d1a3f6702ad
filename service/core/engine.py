"""The engine handles a call from admission to answer, in the same way for every protocol.

Limits, deadlines, keys, counting and logging are handled only here. `service.core.pipeline` has the steps of an
image.
"""

import asyncio
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace

from service import logs, metrics
from service.access.key_file import CurrentKeys
from service.access.keys import Key, Scope, check_scope
from service.access.quotas import Quotas
from service.core.admission import Admission
from service.core.call import Answer, Call, Caller, Outcome
from service.core.inputs import Input
from service.core.memory import MemoryBudget
from service.core.order_log import log_order
from service.core.orders import Action, IndexEntry, Orders, Requested
from service.core.pipeline import Pipeline
from service.core.pool import Pool, no_worker
from service.core.request_log import log_request
from service.cores import shares
from service.errors import (
    BadRequest,
    Cancelled,
    DeadlineAlreadyPassed,
    DeadlineExceeded,
    Forbidden,
    Internal,
    ServiceError,
    TooLarge,
    UnknownModel,
)
from service.settings import Settings
from service.tracing.context import within
from service.tracing.span import Value
from service.tracing.tracer import NO_TRACER, Tracer
from twins.card import Card
from twins.errors import BadOption
from twins.tasks import TASKS

SHORTEST_TIMEOUT_S = 0.001  # with less left, the deadline counts as passed: that is the client's fault

UNTRACED = nullcontext()

log = logs.get()


class Engine:
    """The core of one frontend."""

    def __init__(
        self, settings: Settings, pool: Pool, orders: Orders | None = None, tracer: Tracer = NO_TRACER
    ) -> None:
        self.settings, self.pool, self.orders, self.tracer = settings, pool, orders, tracer
        threads = shares(settings).decode_threads
        self.admission = Admission(max_queue=settings.max_queue, decode_threads=threads)
        self.quotas = Quotas(in_flight=settings.client_in_flight, images_per_s=settings.client_images_per_s)
        self.memory = MemoryBudget(settings.max_held_bytes)
        self.pipeline = Pipeline(settings, pool, self.admission, threads=threads)
        self.trusted_networks = settings.trusted_networks
        self.keys = CurrentKeys(settings)
        self.stopping = False  # not ready, but still serving
        self.closing = asyncio.Event()  # set when streams have to end
        self.on_ready_change: list[Callable[[bool], None]] = []
        pool.on_change.append(self.notify_readiness)

    # ------------------------------------------------------------------ life

    @property
    def ready(self) -> bool:
        """Return whether this frontend is ready for new clients."""
        return self.pool.ready > 0 and not self.stopping

    def start_draining(self) -> None:
        """Report not ready, but keep serving."""
        self.stopping = True
        self.notify_readiness()

    def close(self) -> None:
        """Ask streams to end."""
        self.closing.set()

    def notify_readiness(self) -> None:
        """Call the functions in `on_ready_change`."""
        for notify in self.on_ready_change:
            notify(self.ready)

    # ------------------------------------------------------------------ calls

    @contextmanager
    def call(self, caller: Caller, scope: Scope, order: Requested | None = None) -> Iterator[Outcome]:
        """Cover a call from its headers to its answer; count and log it once. Raise only ServiceError.

        `scope` is what the caller's key has to allow, `order` what is logged of a call that changes what is served.
        """
        longest_s = self.settings.request_timeout_s
        timeout_s = longest_s if caller.timeout_s is None else min(caller.timeout_s, longest_s)
        with within(caller.trace) if caller.trace is not None else UNTRACED, self.memory.open() as memory:
            outcome = Outcome(caller, caller.arrived + timeout_s, memory, order=order)
            try:
                self.check_key(caller, scope, outcome)
                if math.isnan(timeout_s):
                    raise BadRequest("the request's timeout must be a number of seconds above 0")
                if timeout_s < SHORTEST_TIMEOUT_S:
                    raise DeadlineAlreadyPassed("the deadline had passed when the request arrived; set a later one")
                yield outcome
            except asyncio.CancelledError:
                outcome.code = Cancelled.code
                raise
            except ServiceError as error:
                outcome.code = error.code
                raise
            except Exception as error:
                raise self.failed(error, outcome) from error
            finally:
                self.record(outcome)

    async def check_room(self, outcome: Outcome) -> None:
        """Raise Overloaded if the queue or the client's share is used up, before a protocol reads the call's images."""
        self.admission.check_room(1, workers=self.pool.ready)
        await self.quotas.check(outcome.client, 1)

    def failed(self, error: Exception, outcome: Outcome) -> ServiceError:
        """Set the code of a call that failed, and return the error that its client sees."""
        known = self.service_error(error, outcome)
        outcome.code = known.code
        return known

    def failed_image(self, error: Exception, outcome: Outcome) -> ServiceError:
        """Count an image that failed, and return the error that its client sees, without its traceback."""
        known = self.service_error(error, outcome)
        outcome.image_codes[known.code] += 1
        return known.with_traceback(None)

    def service_error(self, error: Exception, outcome: Outcome) -> ServiceError:
        """Return the error that a client sees; log an unexpected one."""
        match error:
            case ServiceError():
                return error
            case BadOption():
                return BadRequest(str(error))
            case TimeoutError():
                return DeadlineExceeded(f"no answer within {outcome.deadline - outcome.caller.arrived:g} s")
        log.error("unexpected error", request_id=outcome.caller.request_id, exc_info=error)
        return Internal("see the server's log under this request's id")

    def refused(self, caller: Caller, code: str) -> None:
        """Count and log a request that is rejected before a call starts, such as one to an unknown path.

        It has no span, whose name would be a path that a client may choose.
        """
        with self.memory.open() as memory:
            self.record(Outcome(replace(caller, trace=None), caller.arrived, memory, code=code))

    @contextmanager
    def admit(self, caller: Caller, scope: Scope | None, order: Requested | None = None) -> Iterator[Outcome]:
        """Check the key of what is not a call yet, or is a stream, whose requests are. Count and log a refusal alone.

        Without a scope, no key is needed.
        """
        with self.memory.open() as memory:
            outcome = Outcome(caller, caller.arrived, memory, order=order)
            try:
                if scope:
                    self.check_key(caller, scope, outcome)
                yield outcome
            except ServiceError as error:
                outcome.code = error.code
                self.record(outcome)
                raise

    def record(self, outcome: Outcome) -> None:
        """Count and log a call. Images without a code of their own are counted under its code."""
        duration_s = asyncio.get_running_loop().time() - outcome.caller.arrived
        protocol = outcome.caller.protocol
        outcome.recorder.ended(outcome.model, protocol, outcome.code, duration_s)
        codes = outcome.image_codes.copy()
        codes[outcome.code] += outcome.images - codes.total()
        for code, count in codes.items():
            metrics.images(outcome.model, protocol, code, count)
        report = outcome.caller.report or log_request
        report(outcome)
        if outcome.order:
            log_order(outcome)
        if outcome.recorder.trace is not None:
            name, attributes = described(outcome)
            self.tracer.record(outcome.recorder.spans(name, duration_s, outcome.code, attributes))

    async def predict(self, call: Call, outcome: Outcome) -> list[Answer | ServiceError]:
        """Return the answer or error of every image, in order. Raise ServiceError if the whole call fails.

        Images that are not answered by the deadline get DeadlineExceeded. If all images do, the call raises it.
        """
        outcome.images += len(call.images)
        card = self.card(call.model, call.task)
        outcome.model = card.key
        self.check_number(call.images)
        self.check_options(call, card)
        if not self.pool.available:
            raise no_worker()
        images, workers = len(call.images), self.pool.ready
        with (
            self.admission.admitted(images, model=card.key, deadline=outcome.deadline, workers=workers),
            self.quotas.admitted(outcome.client, images, outcome.memory),
        ):
            outcome.recorder.step("admit")
            answers = await self.answer_all(card, call, outcome)
            outcome.recorder.images_answered()
        late = [answer for answer in answers if isinstance(answer, DeadlineExceeded)]
        if len(late) == len(answers):
            raise late[0]
        return answers

    async def answer_all(self, card: Card, call: Call, outcome: Outcome) -> list[Answer | ServiceError]:
        """Return the answer or the error of every image, in order."""
        if len(call.images) == 1:  # as most calls have, which needs no further task
            return [await self.answer(call.images[0], 0, card, call, outcome)]
        # a TaskGroup that is cancelled is part of a reference cycle, which would keep the images in memory
        return await asyncio.gather(*(self.answer(data, i, card, call, outcome) for i, data in enumerate(call.images)))

    async def predict_one(self, call: Call, outcome: Outcome) -> Answer:
        """Return the answer of a call with one image. Raise ServiceError."""
        (answer,) = await self.predict(call, outcome)
        if isinstance(answer, ServiceError):
            raise answer
        return answer

    async def answer(
        self, data: Input | ServiceError, number: int, card: Card, call: Call, outcome: Outcome
    ) -> Answer | ServiceError:
        """Return the answer or the error of one image, and count it. An error does not affect the other images."""
        times = outcome.recorder.image(number)
        try:
            if isinstance(data, ServiceError):
                raise data
            async with asyncio.timeout_at(outcome.deadline):
                answer = await self.pipeline.run(data, card, call, outcome, times)
        except Exception as error:
            known = self.failed_image(error, outcome)
            times.failed(known.code)
            return known
        outcome.image_codes["ok"] += 1
        return answer

    # ------------------------------------------------------------------ orders

    async def index(self) -> tuple[IndexEntry, ...]:
        """Return the state of each version of each model. Raise ServiceError."""
        if self.orders:
            return await self.orders.carry_out("index")
        return tuple(IndexEntry(card.name, card.version, "READY", default=True) for card in self.served())

    async def order(self, outcome: Outcome, action: Action, name: str, version: str = "") -> tuple[IndexEntry, ...]:
        """Load or unload a model, or choose its default version. Return its versions. Raise ServiceError."""
        outcome.order = Requested(action, name, version)
        if self.orders is None or not self.settings.allow_model_control:
            raise Forbidden("clients cannot load or unload models; start the service with --allow-model-control")
        return await self.orders.carry_out(action, name, version)

    # ------------------------------------------------------------------ rules

    def check_key(self, caller: Caller, scope: Scope, outcome: Outcome) -> None:
        """Record whose key a caller has. Raise Unauthenticated for none that is known, Forbidden without the scope."""
        check_scope(self.identify(caller, outcome), scope)

    def identify(self, caller: Caller, outcome: Outcome) -> Key | None:
        """Record whose key a caller has, and return it; None if none is required. Raise Unauthenticated."""
        key = self.keys.identify(caller.key)
        outcome.key_name = key.name if key else ""
        return key

    def served(self) -> list[Card]:
        """Return the cards of all models. Raise Unavailable while loading.

        The first of a task is its default, and the first of a name is the default version of that model.
        """
        if not self.pool.cards:
            raise no_worker()
        return list(self.pool.cards.values())

    def card(self, name: str | None, task: str | None = None) -> Card:
        """Return the card of a model. Raise UnknownModel, BadRequest for another task, Unavailable while loading.

        `name@version` is a version of the model, `name` its default version.
        """
        served = self.served()
        if name is None:
            if (first := next((card for card in served if task and TASKS[task].serves(card)), None)) is None:
                raise UnknownModel(f"no model for the task {task} is served; served: {', '.join(self.pool.cards)}")
            return first
        called, _, version = name.partition("@")
        versions = [card for card in served if card.name == called and version in ("", card.version)]
        if not versions:
            raise UnknownModel(f"no model {name[:80]!r} is served; served: {', '.join(self.pool.cards)}")
        card = versions[0]
        if task is not None and not TASKS[task].serves(card):
            raise BadRequest(f"the model {name} is for the task {card.task}; it cannot {task}")
        return card

    def version(self, name: str, version: str) -> Card:
        """Return the card of a version of a model, without one of its default version. Raise UnknownModel."""
        return self.card(f"{name}@{version}" if version else name)

    def check_number(self, images: tuple[object, ...]) -> None:
        """Raise BadRequest for a call without images, and TooLarge for too many."""
        if not images:
            raise BadRequest("the request has no image")
        limits = {name: getattr(self.settings, name) for name in ("max_images", "max_queue", "client_in_flight")}
        setting, most = min(((name, limit) for name, limit in limits.items() if limit), key=lambda pair: pair[1])
        if len(images) > most:
            raise TooLarge(f"the request has {len(images)} images; the limit is {most} ({setting})")

    def check_options(self, call: Call, card: Card) -> None:
        """Raise BadOption for options that the model cannot serve, before any image costs anything."""
        TASKS[call.task].check(call.options, card)
        if call.renderer:
            call.renderer.check(card)


def described(outcome: Outcome) -> tuple[str, dict[str, Value]]:
    """Return the name and the attributes of the span of a call."""
    caller = outcome.caller
    return caller.path.lstrip("/") or caller.protocol, {
        "rpc.method" if caller.protocol == "grpc" else "http.route": caller.path,
        "twins.protocol": caller.protocol,
        "twins.request_id": caller.request_id,
        "twins.model": outcome.model,
        "twins.images": outcome.images,
        "twins.code": outcome.code,
    }
