"""Networks in eight bits, for OpenVINO: weights and the inputs of linear layers and convolutions as integers.

NNCF quantises a network after its training: it runs images and takes the range of every tensor. It imports PyTorch, so
it is only imported for a network that is not in the cache yet.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from typing import TYPE_CHECKING

from twins.runtime.calibration import Calibration
from twins.runtime.openvino import OpenVinoFormat  # before openvino and nncf: it turns their reports to the makers off

import openvino  # isort: skip

if TYPE_CHECKING:
    from torch import nn

log = logging.getLogger(__name__)


class Int8Format(OpenVinoFormat):
    """Networks in OpenVINO's format, quantised. They depend on the images of the calibration as well."""

    code = (
        *OpenVinoFormat.code,
        *("runtime/quantisation.py", "runtime/calibration.py", "runtime/inputs.py", "tasks/*.py", "images/*.py"),
    )

    def __init__(self, core: openvino.Core, calibration: Calibration) -> None:
        super().__init__(core)
        self.calibration = calibration
        versions = "-".join(version(package) for package in ("nncf", "pillow", "opencv-python-headless"))
        self.name = f"{self.name}-int8-{versions}-{calibration.digest}"

    def export(self, network: "nn.Module") -> openvino.Model:
        """Return the quantised graph of a network, which was compared before. Raise ExportFailed, DatasetError.

        The quantised graph is not compared: how far it may differ is for the user to decide, by its accuracy.
        """
        return quantise(super().export(network), self.calibration)


def quantise(graph: openvino.Model, calibration: Calibration) -> openvino.Model:
    """Return a graph in eight bits. Raise DatasetError."""
    pixels = calibration.pixels()
    log.warning(
        "%s is quantised with %d images of %s (%d were left out); compare its accuracy with "
        "`twins evaluate --precision int8`",
        calibration.card.name,
        len(pixels),
        calibration.folder,
        len(calibration.files) - len(pixels),
    )
    import nncf

    nncf.set_log_level(logging.ERROR)
    with no_progress():
        return nncf.quantize(
            graph,
            nncf.Dataset(pixels, calibration.normalised),
            model_type=nncf.ModelType.TRANSFORMER,
            preset=nncf.QuantizationPreset.MIXED,
            subset_size=len(pixels),
        )


@contextmanager
def no_progress() -> Iterator[None]:
    """Keep NNCF from drawing its progress on rich's own console, among the output of a command."""
    import rich

    console = rich.get_console()
    before, console.quiet = console.quiet, True
    try:
        yield
    finally:
        console.quiet = before
