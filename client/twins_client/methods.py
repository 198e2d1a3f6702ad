"""The methods of all clients, one for each task: with results, or as coroutines."""

from abc import abstractmethod
from collections.abc import AsyncIterator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from os import PathLike
from types import TracebackType
from typing import Any, Self, cast

from twins_client.folder import Outcome, ordered, ordered_async, shown
from twins_client.images import Image, in_folder
from twins_client.results import Classification, Detections, Embedding, Result, Segmentation

CONCURRENCY = 8
Classes = Sequence[str | int]
Folder = str | PathLike[str]


class Methods(AbstractContextManager["Methods"]):
    """The methods of a client that waits for its answers. It may be used by several threads."""

    @abstractmethod
    def run(self, task: str, image: Image, options: dict[str, Any]) -> Result:
        """Return the result of an image. Raise TwinsError."""

    @abstractmethod
    def models(self) -> list[dict[str, Any]]:
        """Return the models that are served: at least name, task and variant of each. Raise TwinsError."""

    @abstractmethod
    def close(self) -> None:
        """Close all connections."""

    def classify(self, image: Image, *, model: str | None = None, top_k: int | None = None) -> Classification:
        """Return the best classes of an image. Raise TwinsError.

        >>> client.classify("examples/cat.jpg").best.label
        'cat'
        """
        return cast(Classification, self.run("classify", image, {"model": model, "top_k": top_k}))

    def segment(
        self, image: Image, *, model: str | None = None, classes: Classes | None = None, threshold: float | None = None
    ) -> Segmentation:
        """Return the class of every pixel of an image. Raise TwinsError.

        >>> found = client.segment("examples/cat.jpg")
        >>> found.mask.shape == found.size
        True
        """
        return cast(
            Segmentation, self.run("segment", image, {"model": model, "classes": classes, "threshold": threshold})
        )

    def detect(
        self, image: Image, *, model: str | None = None, classes: Classes | None = None, threshold: float | None = None
    ) -> Detections:
        """Return the objects in an image, with the masks of models that have them. Raise TwinsError.

        >>> client.detect("examples/cat.jpg", threshold=0.5).boxes.shape[1]
        4
        """
        return cast(Detections, self.run("detect", image, {"model": model, "classes": classes, "threshold": threshold}))

    def embed(self, image: Image, *, model: str | None = None, normalize: bool | None = None) -> Embedding:
        """Return the pooled features of an image. Raise TwinsError.

        >>> client.embed("examples/cat.jpg", normalize=True).vector.shape
        (256,)
        """
        return cast(Embedding, self.run("embed", image, {"model": model, "normalize": normalize}))

    def map(
        self, task: str, folder: Folder, *, concurrency: int = CONCURRENCY, progress: bool = False, **options: Any
    ) -> Iterator[Outcome]:
        """Yield the result or the error of each image of a folder, in order; several are on their way at a time.

        >>> [each.result.best.label for each in client.map("classify", "examples") if each.path.stem == "cat"]
        ['cat']
        """
        paths = list(in_folder(folder))
        with ThreadPoolExecutor(concurrency) as threads:
            found = ordered(threads, lambda path: self.run(task, path, options), paths, ahead=2 * concurrency)
            yield from shown(found, len(paths), task, progress=progress)

    def __enter__(self) -> Self:
        """Return the client."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close all connections."""
        self.close()


class AsyncMethods(AbstractAsyncContextManager["AsyncMethods"]):
    """The methods of a client with coroutines."""

    @abstractmethod
    async def run(self, task: str, image: Image, options: dict[str, Any]) -> Result:
        """Return the result of an image. Raise TwinsError."""

    @abstractmethod
    async def models(self) -> list[dict[str, Any]]:
        """Return the models that are served: at least name, task and variant of each. Raise TwinsError."""

    @abstractmethod
    async def close(self) -> None:
        """Close all connections."""

    async def classify(self, image: Image, *, model: str | None = None, top_k: int | None = None) -> Classification:
        """Return the best classes of an image. Raise TwinsError."""
        return cast(Classification, await self.run("classify", image, {"model": model, "top_k": top_k}))

    async def segment(
        self, image: Image, *, model: str | None = None, classes: Classes | None = None, threshold: float | None = None
    ) -> Segmentation:
        """Return the class of every pixel of an image. Raise TwinsError."""
        options = {"model": model, "classes": classes, "threshold": threshold}
        return cast(Segmentation, await self.run("segment", image, options))

    async def detect(
        self, image: Image, *, model: str | None = None, classes: Classes | None = None, threshold: float | None = None
    ) -> Detections:
        """Return the objects in an image, with the masks of models that have them. Raise TwinsError."""
        options = {"model": model, "classes": classes, "threshold": threshold}
        return cast(Detections, await self.run("detect", image, options))

    async def embed(self, image: Image, *, model: str | None = None, normalize: bool | None = None) -> Embedding:
        """Return the pooled features of an image. Raise TwinsError."""
        return cast(Embedding, await self.run("embed", image, {"model": model, "normalize": normalize}))

    async def map(
        self, task: str, folder: Folder, *, concurrency: int = CONCURRENCY, **options: Any
    ) -> AsyncIterator[Outcome]:
        """Yield the result or the error of each image of a folder, in order; several are on their way at a time."""
        paths = list(in_folder(folder))
        async for outcome in ordered_async(lambda path: self.run(task, path, options), paths, ahead=concurrency):
            yield outcome

    async def __aenter__(self) -> Self:
        """Return the client."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close all connections."""
        await self.close()
