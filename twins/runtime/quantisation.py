"""Networks in eight bits, for OpenVINO: weights and the inputs of linear layers and convolutions as integers.

NNCF quantises a network after its training: it runs images and takes the range of every tensor. It imports PyTorch, so
it is only imported for a network that is not in the cache yet.
"""

import logging
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

    code = ("runtime/quantisation.py", "runtime/calibration.py")

    def __init__(self, core: openvino.Core, calibration: Calibration) -> None:
        super().__init__(core)
        self.calibration = calibration
        self.name = f"{self.name}-int8-nncf-{version('nncf')}-{calibration.digest}"

    def export(self, network: "nn.Module") -> openvino.Model:
        """Return the quantised graph of a network. Raise ExportFailed, DatasetError."""
        return quantise(super().export(network), self.calibration)


def quantise(graph: openvino.Model, calibration: Calibration) -> openvino.Model:
    """Return a graph in eight bits. Raise DatasetError."""
    log.warning(
        "%s is quantised with %d images of %s; compare its accuracy with `twins evaluate --precision int8`",
        calibration.card.name,
        len(calibration.files),
        calibration.folder,
    )
    import nncf
    import rich

    nncf.set_log_level(logging.ERROR)
    rich.get_console().quiet = True  # where NNCF draws its progress, among the output of a command
    pixels = calibration.pixels()
    return nncf.quantize(
        graph,
        nncf.Dataset(pixels, calibration.normalised),
        model_type=nncf.ModelType.TRANSFORMER,
        preset=nncf.QuantizationPreset.MIXED,
        subset_size=len(pixels),
    )
