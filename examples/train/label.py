"""Label images with two teachers: boxes from YOLOX, and masks from DeepLab inside these boxes.

The result has the form that `annotated_images` loads. Both teachers are published under Apache-2.0: YOLOX-nano of
Megvii, trained on COCO, as an ONNX file, and DeepLabV3 on MobileNetV2 of google-coral, trained on Pascal VOC, as a file
of TFLite.

Legend: H W image
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnxruntime
import torch
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray
from PIL import Image
from pycocotools import mask as coco
from rich.progress import track

from examples.train.annotated_images import INSTANCES
from examples.train.labelled_images import open_image
from examples.train.pairs import IGNORE_INDEX
from twins.network import ops
from twins.zoo import labels

DETECTOR_SIDE, GREY, STRIDES = 416, 114, (8, 16, 32)  # of YOLOX: its input, the colour around an image, its maps
SURE, PERHAPS = 0.5, 0.15  # scores of an object, and of a region in which nothing is learnt
SURE_OF_KNOWN = 0.3  # score of an object of the class that an image is known to show
OVERLAP, MOST = 0.5, 50
SEGMENTER_SIDE = 513
DOUBLE = 0.6  # overlap of an object with one of the class that is known, from which on it is the same object
GROUPS = (
    {3: "bird", 8: "cat", 10: "cow", 12: "dog", 13: "horse", 17: "sheep"},
    {6: "bus", 7: "car", 19: "truck"},  # 19 is a train, which a truck is often taken for
    {2: "bicycle", 14: "motorcycle"},
    {15: "person"},
)
"""Pascal VOC's classes. The mask of an object may have any class of its group, since DeepLab often confuses them."""
LEAST = {"car": 0.5, "bus": 0.5, "truck": 0.62}  # fraction of its box that a believable mask covers
LEAST_OTHERS = 0.35
REACH = 0.15  # fraction of a box at each of its sides, in which a believable mask has pixels


Entry = dict[str, Any]


@dataclass(frozen=True)
class Found:
    """An object that YOLOX finds."""

    name: str
    box: tuple[float, float, float, float]  # left, top, right, bottom; pixels
    sure: bool  # whether it is an object; otherwise nothing is learnt there

    @property
    def area(self) -> float:
        """Return the area of the box."""
        left, top, right, bottom = self.box
        return (right - left) * (bottom - top)


class Detector:
    """YOLOX with an ONNX file."""

    def __init__(self, path: Path) -> None:
        self.session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        self.names = [label.name for label in labels.shipped("coco80")]
        sides = [DETECTOR_SIDE // stride for stride in STRIDES]
        grids = [np.stack(np.meshgrid(np.arange(side), np.arange(side)), axis=2).reshape(-1, 2) for side in sides]
        self.grid = np.concatenate(grids).astype(np.float32)
        self.strides = np.repeat(STRIDES, [side**2 for side in sides]).astype(np.float32)[:, None]

    def __call__(self, image: Image.Image, shows: str) -> list[Found]:
        """Return the objects of an image that is known to show one of a class, best first."""
        scale = DETECTOR_SIDE / max(image.size)
        small = image.resize([max(1, round(side * scale)) for side in image.size], Image.Resampling.BILINEAR)
        framed = np.full((DETECTOR_SIDE, DETECTOR_SIDE, 3), GREY, np.float32)
        framed[: small.height, : small.width] = np.asarray(small)[:, :, ::-1]
        (output,) = self.session.run(None, {"images": framed.transpose(2, 0, 1)[None]})[0]
        centre, half = (output[:, :2] + self.grid) * self.strides, np.exp(output[:, 2:4]) * self.strides / 2
        boxes = np.concatenate([centre - half, centre + half], axis=1) / scale
        scores = output[:, 4:5] * output[:, 5:]
        anchors, classes = (scores >= PERHAPS).nonzero()
        chosen, values = boxes[anchors].clip(0, image.size * 2), scores[anchors, classes]
        arrays = [torch.from_numpy(each) for each in (chosen, values, classes)]
        kept = ops.nms(*arrays, threshold=OVERLAP, limit=MOST).numpy()
        return [found(self.names[classes[each]], chosen[each], float(values[each]), shows) for each in kept]


def found(name: str, box: NDArray[np.float32], score: float, shows: str) -> Found:
    """Return an object."""
    left, top, right, bottom = box.tolist()
    return Found(name, (left, top, right, bottom), score >= (SURE_OF_KNOWN if name == shows else SURE))


class Segmenter:
    """DeepLab with a TFLite file."""

    def __init__(self, path: Path) -> None:
        self.interpreter = Interpreter(str(path), num_threads=2)
        self.interpreter.allocate_tensors()

    def __call__(self, image: Image.Image) -> NDArray[np.uint8]:
        """Return the class of Pascal VOC of every pixel, H W."""
        pixels = np.asarray(image.resize((SEGMENTER_SIDE, SEGMENTER_SIDE), Image.Resampling.BILINEAR))
        self.interpreter.set_tensor(self.interpreter.get_input_details()[0]["index"], pixels[None])
        self.interpreter.invoke()
        found = self.interpreter.get_tensor(self.interpreter.get_output_details()[0]["index"])
        small = Image.fromarray(found.reshape(SEGMENTER_SIDE, SEGMENTER_SIDE).astype(np.uint8))
        return np.asarray(small.resize(image.size, Image.Resampling.NEAREST))


def write(
    paths: Sequence[Path], output: Path, names: Sequence[str], teachers: tuple[Detector, Segmenter], *, shows: str
) -> int:
    """Write the labelled images to a folder. Return their number.

    `names` are the classes after the background. Images without an object of the class `shows` are left out.
    """
    for folder in ("images", "masks"):
        (output / folder).mkdir(parents=True, exist_ok=True)
    detector, segmenter = teachers
    images: list[Entry] = []
    annotations: list[Entry] = []
    for path in track(paths, "labelling images"):
        image = open_image(path)
        found = without_doubles(detector(image, shows), shows)
        if not any(each.name == shows and each.sure for each in found):
            continue
        mask, own = annotate(found, names, segmenter(image))
        number, name = len(images) + 1, f"{path.parent.name}_{path.stem}"
        image.save(output / "images" / f"{name}.jpg", quality=95)
        Image.fromarray(mask).save(output / "masks" / f"{name}.png")
        images.append({"id": number, "file_name": f"{name}.jpg", "width": image.width, "height": image.height})
        annotations += [{"id": len(annotations) + i + 1, "image_id": number, **each} for i, each in enumerate(own)]
    categories = [{"id": number, "name": name} for number, name in enumerate(names, start=1)]
    document = {"images": images, "annotations": annotations, "categories": categories}
    (output / INSTANCES).write_bytes(msgspec.json.encode(document))
    return len(images)


def without_doubles(found: Sequence[Found], shows: str) -> list[Found]:
    """Return the objects without those of other classes that lie on an object of the class which the image shows."""
    known = [each.box for each in found if each.name == shows and each.sure]
    if not known:
        return list(found)
    boxes = torch.tensor([each.box for each in found])
    double = (ops.overlaps(boxes, torch.tensor(known)) > DOUBLE).any(dim=1).tolist()
    return [each for each, other in zip(found, double, strict=True) if each.name == shows or not other]


def annotate(
    found: Sequence[Found], names: Sequence[str], voc: NDArray[np.uint8]
) -> tuple[NDArray[np.uint8], list[Entry]]:
    """Return the mask of an image, H W, and its entries. What only one of the teachers sees is ignored in the mask.

    `voc` are the classes of Pascal VOC, H W.
    """
    mask = np.zeros(voc.shape, np.uint8)
    mask[np.isin(voc, [number for group in GROUPS for number in group])] = IGNORE_INDEX
    entries = []
    for each in sorted((each for each in found if each.name in names), key=lambda each: -each.area):
        number = names.index(each.name) + 1
        own = object_mask(voc, each) if each.sure else None
        left, top, right, bottom = each.box
        entry: Entry = {"category_id": number, "bbox": [left, top, right - left, bottom - top], "area": each.area}
        if own is None:
            around = mask[int(top) : math.ceil(bottom), int(left) : math.ceil(right)]
            around[around == 0] = IGNORE_INDEX
        else:
            mask[own] = number
            rle = coco.encode(np.asfortranarray(own.astype(np.uint8)))
            entry["segmentation"] = {**rle, "counts": rle["counts"].decode()}
        entries.append({**entry, "iscrowd": 0, "ignore": int(not each.sure)})
    return mask, entries


def object_mask(voc: NDArray[np.uint8], found: Found) -> NDArray[np.bool_] | None:
    """Return the mask of an object, H W, or None if DeepLab's does not fit the box."""
    group = next((group for group in GROUPS if found.name in group.values()), None)
    if group is None:  # Pascal VOC has no such class
        return None
    left, top, right, bottom = map(round, found.box)
    inside = np.isin(voc[top:bottom, left:right], list(group))
    if not inside.size or inside.mean() < LEAST.get(found.name, LEAST_OTHERS):
        return None
    for axis in (0, 1):
        (shown,) = np.nonzero(inside.any(axis=1 - axis))
        margin = max(1, REACH * inside.shape[axis])
        if shown[0] >= margin or shown[-1] < inside.shape[axis] - margin:
            return None
    mask = np.zeros(voc.shape, np.bool_)
    mask[top:bottom, left:right] = inside
    return mask
