"""Takes one image from its input to its answer: decode, preprocess, run in the pool, postprocess, render.

Decoding and finishing have threads of their own, so that a finished image never waits behind images that are still to
be decoded. Each step reserves the memory that it takes in the account of its call.
"""

import asyncio
import time
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

from service import errors, metric_series, metrics
from service.core.admission import Admission
from service.core.call import Answer, Call, Timing
from service.core.inputs import ImageTensor, Input, InputTensor
from service.core.memory import MemoryAccount
from service.core.pool import Pool
from service.core.stage import ThreadStage
from service.errors import BadRequest, ServiceError
from service.settings import Settings
from twins.card import Card
from twins.images import decode
from twins.images.decode import DecodedImage, ImageError
from twins.images.input_image import InputImage, SmallestSize
from twins.render.renderer import RenderInput
from twins.tasks import TASKS
from twins.tasks.sample import Output, Sample

IMAGE_ERRORS: dict[type[ImageError], type[ServiceError]] = {
    decode.NotAnImage: errors.UnsupportedMedia,
    decode.TooLarge: errors.TooLarge,
    decode.Undecodable: errors.UnreadableImage,
}

IMAGE_BYTES = 4  # a pixel of a decoded image, as Pillow stores it
PREPARE_BYTES = 10  # a pixel while it is decoded and converted (two images), or copied into an array (which takes six)
INLINE_BYTES = 2**12  # of an output, and pixels of its result, that is finished in the event loop: a thread is slower
FINISH_BYTES = 15  # a pixel of a mask while it is postprocessed and rendered; an overlay takes most


@dataclass(frozen=True)
class Prepared:
    """An image that is ready to run, and the time that it has taken so far in seconds."""

    sample: Sample
    image: DecodedImage | None  # kept if the answer shows it
    decode_s: float
    preprocess_s: float

    @property
    def size_bytes(self) -> int:
        """Return the memory that it takes until it is answered."""
        image_bytes = IMAGE_BYTES * self.image.width * self.image.height if self.image else 0
        return self.sample.pixels.nbytes + image_bytes


class Pipeline:
    """The steps of an image. All calls of a frontend share its threads."""

    def __init__(self, settings: Settings, pool: Pool, admission: Admission, *, threads: int) -> None:
        self.settings, self.pool, self.admission = settings, pool, admission
        self.decoding = ThreadStage("decode", threads)
        self.finishing = ThreadStage("finish", threads)

    async def run(self, data: Input, card: Card, call: Call, *, deadline: float, memory: MemoryAccount) -> Answer:
        """Return the answer for one image. Raise ServiceError."""
        with self.admission.preparation():
            prepared, decode_queue_s = await self.decoding.run(self.prepare, data, card, call, memory)
        self.admission.prepare_time.record(prepared.decode_s + prepared.preprocess_s, 1)
        upcoming = self.admission.preparing
        with ExitStack() as counted:  # by `prepare` and here; released also if the image fails
            counted.callback(memory.release, prepared.size_bytes)
            pooled = await self.pool.submit(
                card.key, prepared.sample, expires=deadline, upcoming=upcoming, priority=call.priority
            )
            self.admission.device_times[card.key].record(pooled.infer_s, pooled.batch_size)
            self.admission.record_remote_queue(pooled.worker, pooled.queued_for_others)
            output_bytes = sum(array.nbytes for array in pooled.output.arrays)
            memory.count(output_bytes)
            counted.callback(memory.release, output_bytes)
            began = asyncio.get_running_loop().time()
            finished = (pooled.output, card, call, prepared.image, memory)
            pixels = TASKS[call.task].finish_pixels(pooled.output)
            if max(output_bytes, pixels) <= INLINE_BYTES and prepared.image is None:
                result = rendered(*finished)
            else:
                result, _ = await self.finishing.run(finish, *finished)
        finish_s = asyncio.get_running_loop().time() - began
        timing = Timing(
            decode_queue_s, prepared.decode_s, prepared.preprocess_s, pooled.queue_s, pooled.infer_s, finish_s
        )
        for stage in metric_series.STAGES:
            metrics.stage(card.key, stage, getattr(timing, stage))
        return Answer(result, timing)

    def prepare(self, data: Input, card: Card, call: Call, memory: MemoryAccount) -> Prepared:
        """Return the sample of an input, in a thread. Raise ServiceError."""
        with memory.in_thread():
            if isinstance(data, InputTensor):
                prepared = self.accept(data, card, call)
            else:
                prepared = self.preprocess(data, card, call, memory)
            memory.count(prepared.size_bytes)
            return prepared

    def accept(self, data: InputTensor, card: Card, call: Call) -> Prepared:
        """Return the sample of an input that is preprocessed already. Raise BadRequest."""
        began = time.perf_counter()
        data.check(card, self.settings.image_limits)
        if call.renderer and call.renderer.needs_image:
            raise BadRequest("this format shows the image, which the network's own input does not have")
        return Prepared(
            TASKS[call.task].accept(data.values, card, call.options), None, 0.0, time.perf_counter() - began
        )

    def preprocess(self, data: bytes | ImageTensor, card: Card, call: Call, memory: MemoryAccount) -> Prepared:
        """Return the sample of an image. Raise ServiceError."""
        with ExitStack() as working:
            began = time.perf_counter()

            def reserve(pixels: int) -> None:
                working.enter_context(memory.working(PREPARE_BYTES * pixels))

            shown = call.renderer is not None and call.renderer.needs_image
            image = self.decode(data, card, reserve, self.smallest_size(card, call, exact=shown))
            decoded = time.perf_counter()
            sample = TASKS[call.task].preprocess(image, card, call.options)
            kept = image.pixels if shown else None
            return Prepared(sample, kept, decoded - began, time.perf_counter() - decoded)

    def smallest_size(self, card: Card, call: Call, *, exact: bool) -> SmallestSize | None:
        """Return the function by which the decoder may reduce images, or None if it must not."""
        if exact or self.settings.decode == "exact":
            return None
        return partial(TASKS[call.task].smallest_size, card=card)

    def decode(
        self, data: bytes | ImageTensor, card: Card, reserve: decode.Reserve, smallest_size: SmallestSize | None
    ) -> InputImage:
        """Return the image in a file or of a tensor. Raise ServiceError."""
        if isinstance(data, ImageTensor):
            reserve(data.pixels.size // 3)
            return data.image(self.settings.image_limits)
        try:
            return decode.decode(
                data,
                self.settings.image_limits,
                exif_orientation=self.uses_exif(card),
                smallest_size=smallest_size,
                reserve=reserve,
            )
        except ImageError as error:
            metrics.image_refused(error.reason)
            raise IMAGE_ERRORS[type(error)](str(error)) from error

    def uses_exif(self, card: Card) -> bool:
        """Return whether images are turned as their EXIF orientation says."""
        return {"always": True, "never": False, "model": card.exif_orientation}[self.settings.exif]


def finish(output: Output, card: Card, call: Call, image: DecodedImage | None, memory: MemoryAccount) -> Any:
    """Return the result of an output, in a thread, with the memory that this takes."""
    shown = image.width * image.height if image else 0
    pixels = max(shown, TASKS[call.task].finish_pixels(output))
    with memory.in_thread(), memory.working(FINISH_BYTES * pixels):
        return rendered(output, card, call, image, memory)


def rendered(output: Output, card: Card, call: Call, image: DecodedImage | None, memory: MemoryAccount) -> Any:
    """Return the result of an output, rendered if the call asks for it."""
    result = TASKS[call.task].postprocess(output, card, call.options)
    if call.renderer is None:
        return result
    found = call.renderer.render(RenderInput(result, card, call.options, image), call.media_type)
    memory.count(found.size_bytes)
    return found
