"""The formats of exported files: how each is written, and how a file is opened in its own runtime.

The input of every file is `pixels` (B H W 3, uint8, RGB); its outputs are those of `twins.runtime.files.OUTPUTS`.

Legend: B batch · H W image
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from twins.runtime.export import EveryOutput
from twins.runtime.files import OUTPUTS, OpenFile, Pixels, Port, Run, metadata
from twins.runtime.record import FromPixels, record
from twins.zoo.loading import Loaded


def names(network: EveryOutput) -> tuple[str, ...]:
    """Return the names of the outputs of a network in its file."""
    return tuple(OUTPUTS[method] for method in network.names)


def network_outputs(loaded: Loaded) -> Run:
    """Return a function that runs the network itself, as a file of it would be run."""
    network = EveryOutput(loaded.network)
    module = FromPixels(network, loaded.card.normalisation).eval()

    def run(pixels: Pixels) -> Mapping[str, NDArray[np.float32]]:
        with torch.inference_mode():
            found = module(torch.from_numpy(pixels))
        return dict(zip(names(network), (each.numpy() for each in found), strict=True))

    return run


def write_onnx(loaded: Loaded, path: Path) -> None:
    """Write an ONNX file."""
    import onnx

    from twins.runtime import onnx_graph

    network = EveryOutput(loaded.network)
    graph = onnx_graph.with_pixels(onnx_graph.convert(network, names(network)), loaded.card.normalisation)
    onnx.helper.set_model_props(graph, metadata(loaded.card))
    onnx.checker.check_model(graph, full_check=True)
    onnx.save(graph, path)


def open_onnx(path: Path) -> OpenFile:
    """Open an ONNX file with ONNX Runtime."""
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    outputs = [output.name for output in session.get_outputs()]
    ports = [
        Port(port.name, kind, port.type.removeprefix("tensor(").removesuffix(")"), tuple(map(str, port.shape)))
        for kind, group in (("input", session.get_inputs()), ("output", session.get_outputs()))
        for port in group
    ]
    return OpenFile(
        lambda pixels: dict(zip(outputs, session.run(outputs, {"pixels": pixels}), strict=True)),
        tuple(ports),
        f"ONNX, opset {opset(path)}",
    )


def opset(path: Path) -> int:
    """Return the version of the operators that an ONNX file uses."""
    import onnx

    return next(each.version for each in onnx.load(path).opset_import if not each.domain)


def write_openvino(loaded: Loaded, path: Path) -> None:
    """Write a file of OpenVINO, and its weights beside it."""
    from twins.runtime.openvino import (  # before openvino, whose import it prepares
        OpenVinoFormat,
        for_images,
        save_graph,
    )
    import openvino  # isort: skip

    graph = for_images(OpenVinoFormat(openvino.Core()).export(loaded.network), loaded.card.normalisation)
    graph.inputs[0].get_tensor().set_names({"pixels"})
    for output in graph.outputs:
        output.get_tensor().set_names({OUTPUTS[output.get_any_name()]})
    for key, value in metadata(loaded.card).items():
        graph.set_rt_info(value, ["twins", key])
    save_graph(graph, path)


def open_openvino(path: Path) -> OpenFile:
    """Open a file of OpenVINO on the CPU."""
    from twins.runtime.openvino import CACHE_PER_SHAPE
    import openvino  # isort: skip

    settings = {"INFERENCE_PRECISION_HINT": "f32", **CACHE_PER_SHAPE}
    program = openvino.Core().compile_model(path, "CPU", settings)
    ports = [
        Port(port.get_any_name(), kind, port.get_element_type().get_type_name(), free_sizes(port.get_partial_shape()))
        for kind, group in (("input", program.inputs), ("output", program.outputs))
        for port in group
    ]
    return OpenFile(
        lambda pixels: {port.get_any_name(): value for port, value in program(pixels).items()},
        tuple(ports),
        f"OpenVINO IR 11, {openvino.get_version().partition('-')[0]}",
    )


def free_sizes(shape: Any) -> tuple[str, ...]:
    """Return the sizes of a shape of OpenVINO."""
    return tuple("?" if size.is_dynamic else str(size.get_length()) for size in shape)


def write_torch_export(loaded: Loaded, path: Path) -> None:
    """Write a program of torch.export."""
    network = FromPixels(EveryOutput(loaded.network), loaded.card.normalisation)
    torch.export.save(record(network, from_pixels=True), path, extra_files=dict(metadata(loaded.card)))


def open_torch_export(path: Path) -> OpenFile:
    """Open a program of torch.export."""
    program = torch.export.load(path)
    module = program.module()

    def run(pixels: Pixels) -> Mapping[str, NDArray[np.float32]]:
        with torch.inference_mode():
            found = module(torch.from_numpy(pixels))
        return dict(zip(OUTPUTS.values(), (each.numpy() for each in found), strict=False))

    values = {node.name: node.meta["val"] for node in program.graph.nodes if "val" in node.meta}
    groups: tuple[tuple[str, Iterable[Any], Iterable[str]], ...] = (
        ("input", program.graph_signature.user_inputs, ["pixels"]),
        ("output", program.graph_signature.user_outputs, OUTPUTS.values()),
    )
    ports = [port_of(values[key], kind, name) for kind, keys, called in groups for key, name in zip(keys, called)]  # noqa: B905 - a segmentation network has one output
    return OpenFile(run, tuple(ports), f"torch.export, PyTorch {torch.__version__.partition('+')[0]}")


def port_of(value: torch.Tensor, kind: str, name: str) -> Port:
    """Return the port of a recorded tensor."""
    shape = tuple(str(size) if isinstance(size, int) else "?" for size in value.shape)
    return Port(name, kind, str(value.dtype).removeprefix("torch."), shape)
