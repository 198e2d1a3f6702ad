"""The tasks: options, preprocessing, postprocessing and results.

This package holds one file per task. It must not import torch, since tasks run in the frontends. Code that does not
know the task must only use `TASKS`.
"""

from collections.abc import Mapping

import msgspec

from twins.tasks.classify import CLASSIFY
from twins.tasks.detect import DETECT
from twins.tasks.embed import EMBED
from twins.tasks.sample import Params
from twins.tasks.segment import SEGMENT
from twins.tasks.task import AnyTask

TASKS: Mapping[str, AnyTask] = {task.name: task for task in (CLASSIFY, SEGMENT, DETECT, EMBED)}
"""Every task by its name."""


def encode_params(params: Params) -> bytes:
    """Return a sample's parameters as bytes, which another process decodes."""
    return msgspec.msgpack.encode(params)


def decode_params(task: str, data: bytes) -> Params:
    """Return the parameters that `encode_params` encoded for a sample of that task."""
    return msgspec.msgpack.decode(data, type=TASKS[task].params)
