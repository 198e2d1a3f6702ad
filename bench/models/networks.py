"""The networks of the benchmarks: the models of the zoo, and timm's networks with the same weights.

The weights that are not in the package are random: the time of a forward pass does not depend on them.
"""

import hashlib
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from bench.environments import FOLDER
from tests.golden.cases import seeded_state
from tests.golden.names import detector
from tests.golden.names import network as segmenter
from twins import load
from twins.network.heads.classify import Classifier
from twins.network.variants import VARIANTS, Family, Variant
from twins.zoo import hub, labels
from twins.zoo.models import ZOO, ModelReference
from twins.zoo.sources import Packaged

MODELS = FOLDER / "models"


@dataclass(frozen=True)
class Weights:
    """The file with the weights of a model of the zoo."""

    name: str
    path: Path

    @property
    def reference(self) -> ModelReference:
        """Return the model as the library loads it."""
        return ModelReference(self.name, None if isinstance(ZOO[self.name].source, Packaged) else self.path)

    @property
    def argument(self) -> str:
        """Return the model as the command line takes it."""
        return self.name if self.reference.checkpoint is None else f"{self.name}={self.path}"


def weights(name: str) -> Weights:
    """Return the weights of a model. Write random ones unless the model ships."""
    source = ZOO[name].source
    if isinstance(source, Packaged):
        return Weights(name, hub.packaged(source))
    path = MODELS / f"{name}.safetensors"
    if not path.is_file():
        MODELS.mkdir(parents=True, exist_ok=True)
        shapes = [(key, tuple(value.shape)) for key, value in skeleton(name).state_dict().items()]
        save_file({key: value.contiguous() for key, value in seeded_state(shapes).items()}, path)
    return Weights(name, path)


def skeleton(name: str) -> torch.nn.Module:
    """Return a published network without values."""
    entry = ZOO[name]
    if entry.head in ("fpn", "upernet"):
        return segmenter(entry.variant, entry.head)
    if entry.head != "linear":
        return detector(VARIANTS[entry.variant], entry.head)
    with torch.device("meta"):
        return Classifier(VARIANTS[entry.variant], Family(), len(labels.shipped(entry.labels)))


def timm_arguments(variant: Variant, *, classes: int) -> dict[str, object]:
    """Return the arguments of timm's class for a variant. Other sizes of images than 224 work as well."""
    return {
        "num_classes": classes,
        "embed_dims": variant.dims,
        "depths": variant.depths,
        "num_heads": variant.heads,
        "mlp_ratios": variant.mlp_ratios,
        "sr_ratios": variant.reductions,
        "wss": (variant.window,) * 4 if variant.kind == "svt" else None,
    }


def timm_classifier(name: str, *, fused: bool = True) -> torch.nn.Module:
    """Return timm's network with the weights of a classifier, in eval mode.

    PyTorch's exporter to ONNX cannot translate timm's fused attention over windows, which has five dimensions.
    """
    from bench.rivals.timm_networks import Twins, set_fused_attn  # late: only some environments have timm

    set_fused_attn(enable=fused)

    entry = ZOO[name]
    network = Twins(**timm_arguments(VARIANTS[entry.variant], classes=len(labels.shipped(entry.labels))))
    network.load_state_dict(load_file(weights(name).path))
    return network.eval()


def rival_network(name: str, *, fused: bool = True) -> torch.nn.Module:
    """Return the network that other runtimes get: timm's, or ours where timm has none."""
    if ZOO[name].head == "linear":
        return timm_classifier(name, fused=fused)
    reference = weights(name).reference
    return load(reference.name, reference.checkpoint)


def source(name: str) -> str:
    """Return a short hash of what an exported network is made from: its weights and the versions of the libraries."""
    versions = (metadata.version(package) for package in ("torch", "timm", "onnx", "onnxscript", "openvino"))
    return hashlib.sha256(weights(name).path.read_bytes() + " ".join(versions).encode()).hexdigest()[:12]


def export_onnx(name: str, size: tuple[int, int]) -> Path:
    """Return that network in ONNX, with a dynamic batch. It is exported once, since that takes a minute."""
    folder = MODELS / source(name)
    path = folder / f"{name}.onnx"
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        batch = {0: torch.export.Dim("batch")}
        network, example = rival_network(name, fused=False), torch.randn(2, 3, *size)
        torch.onnx.export(network, (example,), path, dynamo=True, dynamic_shapes=(batch,), verbose=False)
    return path
