"""Many images, several at a time, with their results in order."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path

from twins_client.errors import TwinsError
from twins_client.results import Result


@dataclass(frozen=True)
class Outcome:
    """What came of one image: a result or an error."""

    path: Path
    result: Result | None = None
    error: TwinsError | OSError | None = None


def outcome(path: Path, run: Callable[[Path], Result]) -> Outcome:
    """Return what comes of one image."""
    try:
        return Outcome(path, run(path))
    except (TwinsError, OSError) as error:
        return Outcome(path, error=error)


def ordered(
    threads: Executor, run: Callable[[Path], Result], paths: Sequence[Path], *, ahead: int
) -> Iterator[Outcome]:
    """Yield what comes of each image, in order; at most `ahead` are on their way or wait to be yielded."""
    waiting = deque(threads.submit(outcome, path, run) for path in paths[:ahead])
    for path in paths[ahead:]:
        yield waiting.popleft().result()
        waiting.append(threads.submit(outcome, path, run))
    while waiting:
        yield waiting.popleft().result()


async def ordered_async(
    run: Callable[[Path], Awaitable[Result]], paths: Sequence[Path], *, ahead: int
) -> AsyncIterator[Outcome]:
    """Yield what comes of each image, in order; at most `ahead` are on their way or wait to be yielded."""

    async def one(path: Path) -> Outcome:
        try:
            return Outcome(path, await run(path))
        except (TwinsError, OSError) as error:
            return Outcome(path, error=error)

    waiting = deque(asyncio.ensure_future(one(path)) for path in paths[:ahead])
    try:
        for path in paths[ahead:]:
            yield await waiting.popleft()
            waiting.append(asyncio.ensure_future(one(path)))
        while waiting:
            yield await waiting.popleft()
    finally:
        for task in waiting:
            task.cancel()


def shown(found: Iterable[Outcome], total: int, task: str, *, progress: bool) -> Iterable[Outcome]:
    """Return the same outcomes; with `progress`, a bar on standard error follows them."""
    if not progress:
        return found
    from rich.console import Console
    from rich.progress import track

    return track(found, task, total, console=Console(stderr=True))
