"""A model whose batches overlap: while one runs, the next is uploaded and the results of the last one are downloaded.

Legend: B batch
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from twins.card import Card
from twins.errors import NonFiniteOutput
from twins.runtime.cuda.buffers import HostBuffers
from twins.runtime.cuda.graphs import TYPES, Graphs
from twins.runtime.cuda.packing import Packed, pack
from twins.runtime.cuda.streams import Event, Streams
from twins.runtime.reduce import REDUCTIONS
from twins.runtime.torch import TorchModel, device_errors
from twins.tasks import TASKS
from twins.tasks.sample import Layout, Output, Sample


@dataclass(frozen=True)
class Batch:
    """A batch in flight, with the host buffers that it uses until its result is read."""

    model: "StreamedModel"
    packed: Packed
    pixels: Tensor
    results: Tensor
    end: Event

    def result(self) -> list[Output | NonFiniteOutput]:
        """Wait for the batch. Return an output or an error for each sample. Raise DeviceOutOfMemory, DeviceLost."""
        with device_errors():
            self.end.synchronize()
        found = self.packed.unpack(self.results.numpy())
        self.model.pixels.put_back(self.pixels)
        self.model.results.put_back(self.results)
        return found


class StreamedModel:
    """One network on one GPU."""

    def __init__(self, model: TorchModel, streams: Streams, *, graphs: bool = True) -> None:
        """Let the batches of a model overlap. `graphs` records its kernels."""
        self.model, self.streams = model, streams
        self.graphs = Graphs(streams, self.output) if graphs else None
        self.pixels, self.results = HostBuffers(streams.host_buffer), HostBuffers(streams.host_buffer)
        streams.finish_loading()  # the weights were copied in another stream

    @property
    def card(self) -> Card:
        """Return the card of the model."""
        return self.model.card

    def warm_up(self, batch_size: int) -> None:
        """Run a blank batch of that size, after its kernels are recorded. Raise DeviceError."""
        blank = [TASKS[self.card.task].blank(self.card)] * batch_size
        with device_errors(), torch.inference_mode(), self.streams.forward():
            if self.graphs and REDUCTIONS[self.card.task].one_tensor:
                self.graphs.prepare(blank[0].layout, batch_size)
        self.run(blank)

    def run(self, samples: Sequence[Sample]) -> list[Output | NonFiniteOutput]:
        """Return an output or an error for each sample, in order; all samples have one layout. Raise DeviceError."""
        return self.submit(samples).result()

    def submit(self, samples: Sequence[Sample]) -> Batch:
        """Start a batch, and return before it ends. Raise DeviceOutOfMemory, DeviceLost."""
        with device_errors(), torch.inference_mode():
            buffer = self.pixels.take(sum(sample.pixels.nbytes for sample in samples))
            pixels = self.streams.upload(stack(samples, buffer))
            with self.streams.forward():
                packed = self.forward(pixels, samples)
            results = self.results.take(len(packed.data))
            end = self.streams.download(packed.data, results[: len(packed.data)])
            return Batch(self, packed, buffer, results, end)

    def forward(self, pixels: Tensor, samples: Sequence[Sample]) -> Packed:
        """Return the reduced outputs of a batch, on the device."""
        layout = samples[0].layout
        reduction = REDUCTIONS[samples[0].task]
        recorded = self.graphs if reduction.one_tensor else None
        found = recorded.run(pixels, layout) if recorded else self.output(pixels, layout)
        return pack(reduction.reduce(found, samples), reduction.finite(found))

    def output(self, pixels: Tensor, layout: Layout) -> Any:
        """Return the output of the network for a batch of pixels."""
        return self.model.forward(pixels, layout[0])

    def unload(self) -> None:
        """Free the memory of the network and its graphs. The model cannot run after that."""
        self.streams.settle()  # the memory must not go to another stream while a forward uses it
        self.graphs = None
        self.model.unload()


def stack(samples: Sequence[Sample], buffer: Tensor) -> Tensor:
    """Copy the pixels of the samples into a buffer, and return them as one batch there."""
    first = samples[0].pixels
    size = len(samples) * first.nbytes
    batch = buffer[:size].view(TYPES[first.dtype.str]).view(len(samples), *first.shape)
    np.stack([sample.pixels for sample in samples], out=batch.numpy())
    return batch
