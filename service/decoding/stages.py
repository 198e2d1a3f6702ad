"""Prepares the images of all calls: decodes and preprocesses small ones in threads, and large ones apart from them.

Large images have threads of their own, so that small ones never wait for them. An image that is larger still, or whose
decoding can take seconds, is decoded in a process that can be killed.
"""

import time
from collections.abc import Awaitable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import TypeVar

from service import errors, metrics
from service.core.call import Call
from service.core.inputs import ImageTensor, Input, InputTensor
from service.core.memory import MemoryAccount
from service.core.recorder import ImageRecorder
from service.core.stage import StageResult, ThreadStage
from service.decoding.decoder_pool import MOST_PROCESSES, DecoderPool
from service.decoding.preparation import PREPARE_BYTES, Preparation, Prepared
from service.errors import BadRequest, ServiceError
from service.settings import Settings
from twins.card import Card
from twins.images import decode
from twins.images.decode import ImageError, OpenedImage
from twins.images.input_image import InputImage
from twins.tasks import TASKS

IMAGE_ERRORS: dict[type[ImageError], type[ServiceError]] = {
    decode.NotAnImage: errors.UnsupportedMedia,
    decode.TooLarge: errors.TooLarge,
    decode.Undecodable: errors.UnreadableImage,
}

Returned = TypeVar("Returned")

LARGE_PIXELS = 4_000_000  # from about here on, an image takes longer to decode than a small one may wait


class DecodeStages:
    """The threads and processes in which a frontend prepares images."""

    def __init__(self, settings: Settings, *, threads: int) -> None:
        self.settings = settings
        self.small = ThreadStage("decode", threads)
        self.large = ThreadStage("decode-large", threads)
        self.decoders = DecoderPool(
            processes=min(MOST_PROCESSES, max(2, threads)),  # two, so that an image that hangs blocks no other
            timeout_s=settings.decode_timeout_s,
            limits=settings.image_limits,
        )

    async def run(self, data: Input, card: Card, call: Call, memory: MemoryAccount, times: ImageRecorder) -> Prepared:
        """Return the sample of an input, and record its stages. Raise ServiceError."""
        prepared = await self.prepare(data, card, call, memory, times)
        times.stage("decode", prepared.began, prepared.decode_s)
        times.stage("preprocess", prepared.began + prepared.decode_s, prepared.preprocess_s)
        if process := prepared.process:
            times.part("decoder", process.began, process.took_s, pid=process.pid)
        return prepared

    async def prepare(
        self, data: Input, card: Card, call: Call, memory: MemoryAccount, times: ImageRecorder
    ) -> Prepared:
        """Return the sample of an input, and record how long it waits. Raise ServiceError."""
        if isinstance(data, InputTensor):
            return await waited(self.small.run(self.accept, data, card, call, memory), times)
        how = self.preparation(card, call)
        if isinstance(data, ImageTensor):
            stage = self.large if data.pixel_count > LARGE_PIXELS else self.small
            return await waited(stage.run(self.prepare_tensor, data, how, memory), times)
        first = await waited(self.small.run(self.prepare_small, data, how, memory), times)
        if isinstance(first, Prepared):
            return first
        return await waited(self.prepare_large(data, first, how, memory), times)

    def preparation(self, card: Card, call: Call) -> Preparation:
        """Return how the images of a call are prepared."""
        return Preparation(
            call.task,
            card,
            call.options,
            self.settings.image_limits,
            {"always": True, "never": False, "model": card.exif_orientation}[self.settings.exif],
            reduces=self.settings.decode == "fast",
            shown=call.renderer is not None and call.renderer.needs_image,
        )

    def accept(self, data: InputTensor, card: Card, call: Call, memory: MemoryAccount) -> Prepared:
        """Return the sample of an input that is preprocessed already, in a thread. Raise ServiceError."""
        with memory.in_thread():
            began = time.monotonic()
            data.check(card, self.settings.image_limits)
            if call.renderer and call.renderer.needs_image:
                raise BadRequest("this format shows the image, which the network's own input does not have")
            sample = TASKS[call.task].accept(data.values, card, call.options)
            prepared = Prepared(sample, None, 0.0, time.monotonic() - began, began)
            memory.count(prepared.size_bytes)
            return prepared

    def prepare_tensor(self, data: ImageTensor, how: Preparation, memory: MemoryAccount) -> Prepared:
        """Return the sample of an image that is decoded already, in a thread. Raise ServiceError."""
        with memory.in_thread():
            large = data.pixel_count > LARGE_PIXELS
            with memory.working(PREPARE_BYTES * data.pixel_count, large=large):
                prepared = how.preprocess(partial(data.image, how.limits))
            memory.count(prepared.size_bytes)
            return prepared

    def prepare_small(self, data: bytes, how: Preparation, memory: MemoryAccount) -> Prepared | OpenedImage:
        """Return the sample of an image, or the image itself if it is large, in a thread. Raise ServiceError."""
        with memory.in_thread(), image_errors():
            opened = how.open(data)
            if opened.pixel_count > LARGE_PIXELS or self.isolates(opened):
                return opened
            return prepare_opened(opened, how, memory)

    async def prepare_large(
        self, data: bytes, opened: OpenedImage, how: Preparation, memory: MemoryAccount
    ) -> StageResult[Prepared]:
        """Return the sample of a large image. Raise ServiceError."""
        if not self.isolates(opened):
            return await self.large.run(self.prepare_in_thread, opened, how, memory)
        with image_errors():
            return await self.decoders.run(data, how, memory, opened.held_pixels)

    def isolates(self, opened: OpenedImage) -> bool:
        """Return whether an image is decoded in a process."""
        return 0 < self.settings.isolate_pixels < opened.pixel_count

    def prepare_in_thread(self, opened: OpenedImage, how: Preparation, memory: MemoryAccount) -> Prepared:
        """Return the sample of a large image, in a thread. Raise ServiceError."""
        with memory.in_thread(), image_errors():
            return prepare_opened(opened, how, memory, large=True)


async def waited(result: Awaitable[StageResult[Returned]], times: ImageRecorder) -> Returned:
    """Return what a stage returns, and record how long the image waited for it from now on."""
    began = time.monotonic()
    value, queue_s = await result
    times.stage("decode_queue", began, queue_s)
    return value


def prepare_opened(opened: OpenedImage, how: Preparation, memory: MemoryAccount, *, large: bool = False) -> Prepared:
    """Return the sample of an image, once its memory is reserved. Raise ImageError, ServiceError."""
    with ExitStack() as working:

        def image() -> InputImage:
            working.enter_context(memory.working(PREPARE_BYTES * opened.held_pixels, large=large))
            return opened.decode(exif_orientation=how.exif_orientation)

        prepared = how.preprocess(image)
    memory.count(prepared.size_bytes)
    return prepared


@contextmanager
def image_errors() -> Iterator[None]:
    """Translate the errors of images into those that a client may see, and count them."""
    try:
        yield
    except ImageError as error:
        metrics.image_refused(error.reason)
        raise IMAGE_ERRORS[type(error)](str(error)) from error
