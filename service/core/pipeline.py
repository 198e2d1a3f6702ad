"""Takes one image from its input to its answer: decode, preprocess, run in the pool, postprocess, render.

Decoding and finishing have threads of their own, so that a finished image never waits behind images that are still to
be decoded. Each step reserves the memory that it takes in the account of its call.
"""

import asyncio
from contextlib import ExitStack
from typing import Any

from service import metric_series, metrics
from service.core.admission import Admission
from service.core.call import Answer, Call, Timing
from service.core.inputs import Input
from service.core.memory import MemoryAccount
from service.core.pool import Pool
from service.core.stage import ThreadStage
from service.decoding.stages import DecodeStages
from service.settings import Settings
from twins.card import Card
from twins.images.decode import DecodedImage
from twins.render.renderer import RenderInput
from twins.tasks import TASKS
from twins.tasks.sample import Output

INLINE_BYTES = 2**12  # of an output, and pixels of its result, that is finished in the event loop: a thread is slower
FINISH_BYTES = 15  # a pixel of a mask while it is postprocessed and rendered; an overlay takes most


class Pipeline:
    """The steps of an image. All calls of a frontend share its threads."""

    def __init__(self, settings: Settings, pool: Pool, admission: Admission, *, threads: int) -> None:
        self.pool, self.admission = pool, admission
        self.decode_stages = DecodeStages(settings, threads=threads)
        self.finishing = ThreadStage("finish", threads)

    async def run(self, data: Input, card: Card, call: Call, *, deadline: float, memory: MemoryAccount) -> Answer:
        """Return the answer for one image. Raise ServiceError."""
        with self.admission.preparation():
            prepared, decode_queue_s = await self.decode_stages.run(data, card, call, memory)
        self.admission.prepare_time.record(prepared.decode_s + prepared.preprocess_s, 1)
        upcoming = self.admission.preparing
        with ExitStack() as counted:  # by the stages of decoding and here; released also if the image fails
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
