"""Takes one image from its input to its answer: decode, preprocess, run in the pool, postprocess, render.

Decoding and finishing have threads of their own, so that a finished image never waits behind images that are still to
be decoded. Each step reserves the memory that it takes in the account of its call.
"""

import time
from contextlib import ExitStack
from typing import Any, NamedTuple

from service.core.admission import Admission
from service.core.call import Answer, Call, Outcome
from service.core.inputs import Input
from service.core.memory import MemoryAccount
from service.core.pool import Pool
from service.core.recorder import ImageRecorder
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

    async def run(self, data: Input, card: Card, call: Call, outcome: Outcome, times: ImageRecorder) -> Answer:
        """Return the answer for one image. Raise ServiceError."""
        memory = outcome.memory
        with self.admission.preparation():
            prepared = await self.decode_stages.run(data, card, call, memory, times)
        self.admission.prepare_time.record(prepared.decode_s + prepared.preprocess_s, 1)
        upcoming = self.admission.preparing
        with ExitStack() as counted:  # by the stages of decoding and here; released also if the image fails
            counted.callback(memory.release, prepared.size_bytes)
            pooled = await self.pool.submit(
                card.key, prepared.sample, expires=outcome.deadline, upcoming=upcoming, priority=call.priority
            )
            self.admission.device_times[card.key].record(pooled.infer_s, pooled.batch_size)
            self.admission.record_remote_queue(pooled.worker, pooled.queued_for_others)
            times.stage("queue", pooled.began - pooled.queue_s, pooled.queue_s)
            times.stage("infer", pooled.began, pooled.infer_s, pooled.batch)
            output_bytes = sum(array.nbytes for array in pooled.output.arrays)
            memory.count(output_bytes)
            counted.callback(memory.release, output_bytes)
            began = time.monotonic()
            how = Finish(card, call, prepared.image, memory, times)
            pixels = TASKS[call.task].finish_pixels(pooled.output)
            if max(output_bytes, pixels) <= INLINE_BYTES and prepared.image is None:
                result = rendered(pooled.output, how)
            else:
                result, _ = await self.finishing.run(finish, pooled.output, how)
        times.stage("postprocess", began, time.monotonic() - began)
        return Answer(result, times.succeeded(card.key))


class Finish(NamedTuple):
    """What is needed to make the result of an output."""

    card: Card
    call: Call
    image: DecodedImage | None  # if the result shows it
    memory: MemoryAccount
    times: ImageRecorder


def finish(output: Output, how: Finish) -> Any:
    """Return the result of an output, in a thread, with the memory that this takes."""
    shown = how.image.width * how.image.height if how.image else 0
    pixels = max(shown, TASKS[how.call.task].finish_pixels(output))
    with how.memory.in_thread(), how.memory.working(FINISH_BYTES * pixels):
        return rendered(output, how)


def rendered(output: Output, how: Finish) -> Any:
    """Return the result of an output, rendered if the call asks for it."""
    call = how.call
    result = TASKS[call.task].postprocess(output, how.card, call.options)
    if call.renderer is None:
        return result
    began = time.monotonic()
    found = call.renderer.render(RenderInput(result, how.card, call.options, how.image), call.media_type)
    how.times.part("encode", began, time.monotonic() - began)
    how.memory.count(found.size_bytes)
    return found
