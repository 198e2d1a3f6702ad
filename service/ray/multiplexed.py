"""A pool that keeps only some of the models on its device, and loads the others when a sample needs them."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from functools import partial
from typing import Any

from service.core.batcher import USUAL_PRIORITY
from service.core.local import LocalPool
from service.core.pool import PoolOutput
from service.errors import Unavailable
from twins.card import Card
from twins.errors import TwinsError
from twins.tasks.sample import Sample
from twins.zoo.models import ModelReference

Load = Callable[[str], Awaitable["Kept"]]
"""Returns a model by its key, after loading it if need be. It drops the one that was not used for longest."""

Cache = Callable[[Load], Load]
"""Returns a loader that keeps models, from one that loads them."""


class Kept:
    """A model on the device. Ray Serve awaits `__del__` of a multiplexed model when it drops it.

    It is an attribute, and not a method, so that Python does not call it as well.
    """

    def __init__(self, drop: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self.__del__ = drop


class MultiplexedPool:
    """The protocol `service.core.pool.Pool` over a pool on one device, for more models than it holds at once."""

    def __init__(
        self,
        inner: LocalPool,
        references: Sequence[ModelReference],
        load: Callable[[ModelReference], Awaitable[Card]],
        cache: Cache,
    ) -> None:
        self.inner, self.load = inner, load
        self.references = {reference.key: reference for reference in references}
        self.known: dict[str, Card] = {}
        self.running: Counter[str] = Counter()  # samples by model
        self.idle: dict[str, asyncio.Event] = {}  # of models that are dropped after their last sample
        self.turns: dict[str, list[asyncio.Future[None]]] = {}  # of samples that wait for their model
        self.loads: set[asyncio.Task[None]] = set()

        async def load_one(key: str) -> Kept:  # a function, to which Ray Serve can attach its cache
            return await self.fetch(key)

        self.model = cache(load_one)
        self.on_change: list[Callable[[], None]] = []
        self.inner.on_change.append(self.notify)

    async def open(self) -> None:
        """Read the card of each model from its file, one after another. Raise TwinsError."""
        for key, reference in self.references.items():
            self.known[key] = await self.inner.load(reference, warm_up=False)
            await self.inner.unload(key)
        self.notify()

    # ------------------------------------------------------------------ the protocol

    @property
    def cards(self) -> Mapping[str, Card]:
        """Return the cards of all models, also of those that are not on the device."""
        return self.known

    @property
    def ready(self) -> int:
        """Return 1 if this pool can take samples now, otherwise 0."""
        return int(len(self.known) == len(self.references) and not self.inner.lost)

    @property
    def expected(self) -> int:
        """Return the number of workers that should be ready."""
        return 1

    @property
    def problems(self) -> Mapping[str, str]:
        """Return nothing, as the pool within."""
        return self.inner.problems

    @property
    def available(self) -> bool:
        """Return whether a sample that is submitted now will run."""
        return self.ready > 0

    async def submit(
        self, model: str, sample: Sample, *, expires: float, upcoming: int = 0, priority: int = USUAL_PRIORITY
    ) -> PoolOutput:
        """Return one sample's output of one model, which is loaded if need be. Raise ServiceError."""
        await self.acquire(model)
        try:
            return await self.inner.submit(model, sample, expires=expires, upcoming=upcoming, priority=priority)
        finally:
            self.release(model)

    def close(self) -> None:
        """Release the device."""
        self.inner.close()

    # ------------------------------------------------------------------ models

    async def acquire(self, key: str) -> None:
        """Return when a model is on the device, where it then stays until `release`. Raise ServiceError."""
        turn = asyncio.get_running_loop().create_future()
        self.turns.setdefault(key, []).append(turn)
        load = asyncio.create_task(self.bring(key))  # goes on if the request is cancelled: a retry finds the model
        self.loads.add(load)
        load.add_done_callback(self.loads.discard)
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled():  # it came in the same moment
                self.release(key)
            raise

    def release(self, key: str) -> None:
        """End the use of a model by one sample."""
        self.running[key] -= 1
        if not self.running[key] and key in self.idle:
            self.idle[key].set()

    async def bring(self, key: str) -> None:
        """Give the samples that wait for a model their turns, after loading it if need be."""
        try:
            while self.turns.get(key):
                await self.model(key)
                if key in self.inner.models and key not in self.idle:
                    self.give_turns(key)
        except Exception as error:
            known = (
                Unavailable(f"the model {key} cannot be loaded: {error}") if isinstance(error, TwinsError) else error
            )
            for turn in self.turns.pop(key, []):
                if not turn.done():
                    turn.set_exception(known)

    def give_turns(self, key: str) -> None:
        """Give all samples that wait for a model their turns."""
        for turn in self.turns.pop(key, []):
            if not turn.done():
                self.running[key] += 1
                turn.set_result(None)

    async def fetch(self, key: str) -> Kept:
        """Load a model, and give turns before it may be dropped for another one. Raise TwinsError."""
        await self.load(self.references[key])
        self.give_turns(key)
        return Kept(partial(self.drop, key))

    async def drop(self, key: str) -> None:
        """Unload a model after its last sample. New samples wait until it is loaded again."""
        if self.running[key]:
            self.idle[key] = asyncio.Event()
            await self.idle[key].wait()
            del self.idle[key]
        if key in self.inner.models:
            await self.inner.unload(key)

    def notify(self) -> None:
        """Call the functions in `on_change`."""
        for notify in self.on_change:
            notify()
