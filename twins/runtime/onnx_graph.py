"""A network as an ONNX graph for any batch and any image size, with or without the normalisation."""

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from twins.card import Normalisation

if TYPE_CHECKING:
    from torch import nn

INPUT = "input"  # B 3 H W, float32, normalised
PIXELS = "pixels"  # B H W 3, uint8, RGB


def convert(network: "nn.Module", outputs: Sequence[str]) -> onnx.ModelProto:
    """Return the graph of a network that returns a tuple. Its input is normalised; its outputs have these names."""
    import torch  # late, so that a stored graph can be used without it

    from twins.runtime.record import any_size, example, record

    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # it warns of packages that no network here needs
    program = record(network, from_pixels=False)
    with any_size():
        made = torch.onnx.export(
            program,
            example(from_pixels=False),
            dynamo=True,
            verbose=False,
            input_names=[INPUT],
            output_names=list(outputs),
        )
    assert made is not None
    graph: onnx.ModelProto = made.model_proto
    name_sizes(graph.graph)
    return graph


def name_sizes(graph: onnx.GraphProto) -> None:
    """Give names to the sizes of the input and the outputs that are free."""
    name_free(graph.input[0], ("batch", "", "height", "width"))
    for output in graph.output:
        name_free(output, ("batch", "", "rows", "columns"))
    del graph.value_info[:]  # these use the earlier names, and can be inferred


def name_free(value: onnx.ValueInfoProto, names: Sequence[str]) -> None:
    """Give the sizes of a value that are not fixed these names."""
    for size, name in zip(value.type.tensor_type.shape.dim, names, strict=False):
        if size.dim_param:
            size.dim_param = name


def with_pixels(graph: onnx.ModelProto, scale: Normalisation) -> onnx.ModelProto:
    """Return a copy of the graph whose input is images as they are, which the graph normalises."""
    made = onnx.ModelProto()
    made.CopyFrom(graph)
    mean, std = (
        np.float32(255) * np.array(values, np.float32).reshape(1, 3, 1, 1) for values in (scale.mean, scale.std)
    )
    steps = [
        helper.make_node("Cast", [PIXELS], ["pixels_float"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["pixels_float"], ["pixels_by_channel"], perm=[0, 3, 1, 2]),
        helper.make_node("Sub", ["pixels_by_channel", "pixels_mean"], ["pixels_centred"]),
        helper.make_node("Div", ["pixels_centred", "pixels_std"], [INPUT]),
    ]
    nodes = [*steps, *made.graph.node]
    del made.graph.node[:]
    made.graph.node.extend(nodes)
    made.graph.initializer.extend(
        [numpy_helper.from_array(mean, "pixels_mean"), numpy_helper.from_array(std, "pixels_std")]
    )
    del made.graph.input[:]
    made.graph.input.append(helper.make_tensor_value_info(PIXELS, TensorProto.UINT8, ["batch", "height", "width", 3]))
    return made
