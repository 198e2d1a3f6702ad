"""The models that are known by name, as data."""

import difflib
import re
from dataclasses import dataclass
from pathlib import Path

from twins.card import FIRST_VERSION, TASK_OF, Accuracy, HeadName, TaskName, model_key
from twins.errors import UnknownModel
from twins.preprocessing import IMAGENET, NO_VALUES, Preprocessing
from twins.running import AS_THE_OTHERS, Running
from twins.zoo.sources import (
    HUB,
    HUB_CHECKPOINT,
    HUB_SYNTAX,
    HubCheckpoint,
    HubFile,
    Packaged,
    Source,
    Unpublished,
    Url,
)

DEFAULT_MODELS: dict[TaskName, str] = {
    "classify": "twins_svt_nano",
    "segment": "twins_svt_nano_fpn",
    "detect": "twins_svt_nano_maskrcnn",
}
"""The model of each task that is used if none is named. Its weights ship with the package."""


@dataclass(frozen=True)
class ZooEntry:
    """A model that is known by name: a variant with its labels, preprocessing and weights."""

    variant: str
    labels: str  # the name of a file in labels/
    preprocessing: Preprocessing
    source: Source
    licence: str
    exif_orientation: bool
    head: HeadName = "linear"
    published: Accuracy | None = None
    measured: Accuracy | None = None
    notes: str = ""

    @property
    def task(self) -> TaskName:
        """Return the task of the model."""
        return TASK_OF[self.head]


@dataclass(frozen=True)
class ModelReference:
    """A model that a user asks for: the name of a zoo entry, or any name for a checkpoint of the user's own.

    `twins.zoo.hub.resolve` adds the file with the weights and its sha256. From then on, loading the model
    returns these weights or fails.
    """

    name: str
    checkpoint: Path | None = None
    file: Path | None = None
    sha256: str | None = None
    preprocessing: Preprocessing = NO_VALUES  # the user's values, which come before those of the file
    labels_file: Path | None = None  # the user's class names
    version: str = FIRST_VERSION
    running: Running = AS_THE_OTHERS
    hub: HubCheckpoint | None = None  # where the checkpoint is; `twins.zoo.hub.located` downloads it

    @property
    def is_own(self) -> bool:
        """Return whether the user gives the checkpoint."""
        return self.checkpoint is not None or self.hub is not None

    @property
    def key(self) -> str:
        """Return the name with its version, which no other model has."""
        return model_key(self.name, self.version)


def imagenet(variant: str, top1: float, top5: float, *, revision: str | None, sha256: str | None) -> ZooEntry:
    """Return a published ImageNet-1k model.

    The figures are timm's, which crops 0.9 of the short side and ignores the EXIF orientation.
    """
    return ZooEntry(
        variant=variant,
        labels="imagenet1k",
        preprocessing=Preprocessing(size=224, crop=0.9, interpolation="bicubic").with_defaults(IMAGENET),
        source=HubFile(f"timm/twins_{variant}.in1k", revision, sha256),
        licence="Apache-2.0",
        exif_orientation=False,
        published=Accuracy(
            {"top1": top1, "top5": top5}, "ImageNet-1k validation", "timm results-imagenet.csv, 224 px, crop 0.9"
        ),
    )


MODEL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")

OPENMMLAB = "https://download.openmmlab.com/mmsegmentation/v0.5/twins"


def ade20k(variant: str, head: HeadName, file: str, single_scale: float, multi_scale: float) -> ZooEntry:
    """Return a published ADE20K model. The name of its file ends in the first eight digits of its sha256."""
    stem, _, sha256 = file.rpartition("-")
    folder = re.sub(r"_\d{8}_\d{6}$", "", stem)
    return ZooEntry(
        variant=variant,
        labels="ade20k",
        preprocessing=Preprocessing(size=512, interpolation="bilinear").with_defaults(IMAGENET),
        source=Url(f"{OPENMMLAB}/{folder}/{file}.pth", sha256),
        licence="Apache-2.0",
        exif_orientation=True,
        head=head,
        published=Accuracy(
            {"mIoU": single_scale, "mIoU multi-scale": multi_scale}, "ADE20K validation", "mmsegmentation configs/twins"
        ),
    )


ADE20K: tuple[tuple[str, HeadName, str, float, float], ...] = (
    ("pcpvt_small", "fpn", "twins_pcpvt-s_fpn_fpnhead_8x4_512x512_80k_ade20k_20211201_204132-41acd132", 43.26, 44.11),
    ("pcpvt_small", "upernet", "twins_pcpvt-s_uperhead_8x4_512x512_160k_ade20k_20211201_233537-8e99c07a", 46.04, 46.92),
    ("pcpvt_base", "fpn", "twins_pcpvt-b_fpn_fpnhead_8x4_512x512_80k_ade20k_20211130_141019-d396db72", 45.66, 46.48),
    ("pcpvt_base", "upernet", "twins_pcpvt-b_uperhead_8x2_512x512_160k_ade20k_20211130_141020-02094ea5", 47.91, 48.64),
    ("pcpvt_large", "fpn", "twins_pcpvt-l_fpn_fpnhead_8x4_512x512_80k_ade20k_20211201_105226-bc6d61dc", 45.94, 46.70),
    ("pcpvt_large", "upernet", "twins_pcpvt-l_uperhead_8x2_512x512_160k_ade20k_20211201_075053-c6095c07", 49.35, 50.08),
    ("svt_small", "fpn", "twins_svt-s_fpn_fpnhead_8x4_512x512_80k_ade20k_20211130_141006-0a0d3317", 44.47, 45.42),
    ("svt_small", "upernet", "twins_svt-s_uperhead_8x2_512x512_160k_ade20k_20211130_141005-e48a2d94", 46.08, 46.96),
    ("svt_base", "fpn", "twins_svt-b_fpn_fpnhead_8x4_512x512_80k_ade20k_20211201_113849-88b2907c", 46.77, 47.47),
    ("svt_base", "upernet", "twins_svt-b_uperhead_8x2_512x512_160k_ade20k_20211202_040826-0943a1f1", 48.04, 48.87),
    ("svt_large", "fpn", "twins_svt-l_fpn_fpnhead_8x4_512x512_80k_ade20k_20211130_141005-1d59bee2", 46.55, 47.74),
    ("svt_large", "upernet", "twins_svt-l_uperhead_8x2_512x512_160k_ade20k_20211130_141005-3e2cae61", 49.65, 50.63),
)
"""Variant, head, file, mIoU at a single scale, and mIoU at multiple scales with flips."""

DETECTRON2 = "https://github.com/xiaohu2015/pvt_detectron2/releases/download"
PUBLISHED_DETECTORS = {
    "twins_pcpvt_small_retinanet_coco_d2": (
        "pcpvt_small",
        f"{DETECTRON2}/v0.9/retinanet_pcpvt_small_coco.pth",
        44.2,
    ),
    "twins_svt_small_retinanet_coco_d2": ("svt_small", f"{DETECTRON2}/v1.0/retinanet_gvt_small_coco.pth", 43.1),
}
"""Variant, address and average precision of boxes of the two detectors whose weights are public."""


def coco(variant: str, head: HeadName, source: Source, published: Accuracy | None = None) -> ZooEntry:
    """Return a detector of COCO's 80 classes."""
    return ZooEntry(
        variant=variant,
        labels="coco80",
        preprocessing=Preprocessing(size=800, interpolation="bilinear").with_defaults(IMAGENET),
        source=source,
        licence="Apache-2.0",
        exif_orientation=True,
        head=head,
        published=published,
    )


def detectron2(variant: str, url: str, precision: float) -> ZooEntry:
    """Return a detector that was published for detectron2."""
    accuracy = Accuracy({"box AP": precision}, "COCO val2017", "pvt_detectron2, schedule 1x")
    return coco(variant, "retinanet", Url(url, sha256=None), accuracy)


SIZES = ("pcpvt_small", "pcpvt_base", "pcpvt_large", "svt_small", "svt_base", "svt_large")
DETECTION_HEADS: tuple[HeadName, ...] = ("retinanet", "maskrcnn")

ZOO: dict[str, ZooEntry] = {
    "twins_svt_nano": ZooEntry(
        variant="svt_nano",
        labels="nano13",
        preprocessing=Preprocessing(size=112, crop=0.9, interpolation="bicubic").with_defaults(IMAGENET),
        source=Packaged(
            "twins_svt_nano.safetensors", sha256="20269ba1db29ed0dc8ec0ee876641da07ece427c6a0a9c283b5300126077f6d2"
        ),
        licence="Apache-2.0",
        exif_orientation=True,
        measured=Accuracy(
            {"top1": 83.6, "top5": 98.2}, "5,075 validation images of its 13 classes", "twins/weights/twins_svt_nano.md"
        ),
        notes="A demonstration of 13 classes, not a product: see its model card for what it gets wrong.",
    ),
    "twins_svt_nano_fpn": ZooEntry(
        variant="svt_nano",
        labels="nano12_bg",
        preprocessing=Preprocessing(size=320, interpolation="bilinear").with_defaults(IMAGENET),
        source=Packaged(
            "twins_svt_nano_fpn.safetensors", sha256="0e6929b6a360942d11dfa14f852cfbdc104f23a9bab40eb2164bd7ab819b15ab"
        ),
        licence="Apache-2.0",
        exif_orientation=True,
        head="fpn",
        measured=Accuracy({"mIoU": 33.8}, "500 test images, five classes", "twins/weights/twins_svt_nano_fpn.md"),
        notes="A demonstration of twelve classes, not a product: see its model card for what it gets wrong.",
    ),
    "twins_svt_nano_maskrcnn": ZooEntry(
        variant="svt_nano",
        labels="nano12",
        preprocessing=Preprocessing(size=320, interpolation="bilinear").with_defaults(IMAGENET),
        source=Packaged(
            "twins_svt_nano_maskrcnn.safetensors",
            sha256="e0098547cc85a99f4f1ecb44522b474ee86241fcacf8dd6afd9685d9aeec2b81",
        ),
        licence="Apache-2.0",
        exif_orientation=True,
        head="maskrcnn",
        measured=Accuracy(
            {"box AP50": 33.5},
            "500 test images, five classes",
            "twins/weights/twins_svt_nano_maskrcnn.md",
        ),
        notes="A demonstration of twelve classes, not a product: see its model card for what it gets wrong.",
    ),
    "twins_pcpvt_small": imagenet("pcpvt_small", 81.116, 95.624, revision=None, sha256=None),
    "twins_pcpvt_base": imagenet(
        "pcpvt_base",
        82.724,
        96.350,
        revision="e3b4fd1cb51702e36a58d2ed220f180f9d7c1c91",
        sha256="5722f0d29662fd5ff69a21701caaf5feebd1d657adb62391a75798c43b37760f",
    ),
    "twins_pcpvt_large": imagenet(
        "pcpvt_large",
        83.158,
        96.626,
        revision=None,
        sha256="423acdd738d41f7ed50bbafbfbf3e50f6ea098b5704bb749a969f1992ddd84c3",
    ),
    "twins_svt_small": imagenet(
        "svt_small",
        81.694,
        95.670,
        revision="5edde10cd4eb4cd9426bcb49629b388c57c02c8c",
        sha256="46e4bd7b30ae9ae3f2e9ec4fb669439c5f9676c6bc787687923424d704a06c1a",
    ),
    "twins_svt_base": imagenet("svt_base", 83.122, 96.430, revision=None, sha256=None),
    "twins_svt_large": imagenet(
        "svt_large",
        83.718,
        96.600,
        revision=None,
        sha256="2fbe754f6e595bd07294f381302e0b3f1d449176977e35e4f30200fe4f3bcf97",
    ),
    **{f"twins_{entry[0]}_{entry[1]}_ade20k": ade20k(*entry) for entry in ADE20K},
    **{
        f"twins_{variant}_{head}_coco": coco(variant, head, Unpublished(tuple(PUBLISHED_DETECTORS)))
        for head in DETECTION_HEADS
        for variant in SIZES
    },
    **{name: detectron2(*entry) for name, entry in PUBLISHED_DETECTORS.items()},
}


def list_models() -> list[str]:
    """Return the names of all models that `load` and `--model` know."""
    return list(ZOO)


def find_entry(name: str) -> ZooEntry:
    """Return the entry of a model. Raises UnknownModel, which names the closest model."""
    if name in ZOO:
        return ZOO[name]
    close = difflib.get_close_matches(name.lower(), ZOO, n=1)
    hint = f"did you mean {close[0]}?" if close else f"the known models are {', '.join(ZOO)}."
    raise UnknownModel(f"no model is called {name!r}; {hint} Give a checkpoint of your own as NAME=FILE.")


def parse_reference(text: str) -> ModelReference:
    """Return the reference in a text: `NAME`, `NAME=FILE`, `NAME=hf://…`, or `hf://…` alone. Raises UnknownModel."""
    if text.startswith(HUB):
        found = hub_checkpoint(text)
        return ModelReference(check_name(found.name), hub=found)
    name, equals, path = text.partition("=")
    if not equals:
        find_entry(name)
        return ModelReference(name)
    if not name or not path:
        raise UnknownModel(f"{text!r} is neither the name of a model nor NAME=FILE")
    if path.startswith(HUB):
        return ModelReference(check_name(name), hub=hub_checkpoint(path))
    return ModelReference(check_name(name), Path(path).expanduser())


def check_name(name: str) -> str:
    """Return the name of a model. Raises UnknownModel if it cannot be one."""
    if not MODEL_NAME.fullmatch(name):
        raise UnknownModel(
            f"{name!r} cannot be the name of a model, which is a part of its path in HTTP: use letters, digits, '.', "
            "'_' and '-', and start with a letter or a digit"
        )
    return name


def hub_checkpoint(text: str) -> HubCheckpoint:
    """Return the checkpoint on the hub that a text stands for. Raises UnknownModel."""
    if (found := HUB_CHECKPOINT.fullmatch(text)) is None:
        raise UnknownModel(f"{text!r} is not the address of a checkpoint on the hub: {HUB_SYNTAX}")
    return HubCheckpoint(found["repo"], found["file"], found["revision"])
