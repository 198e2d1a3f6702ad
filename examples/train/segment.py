"""What a segmentation network learns from images and their masks.

Legend: B batch · S side of a view · K classes · H W image · P pixels
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from examples.train import augment, views
from examples.train.pairs import IGNORE_INDEX, Pairs
from examples.train.precision import mixed
from examples.train.run import Recipe
from twins.checkpoints.checkpoint import Checkpoint
from twins.network.backbone import Trunk
from twins.network.heads.conv import ConvNormRelu
from twins.network.heads.fpn import FpnHead, Pyramid
from twins.network.heads.segment import Segmenter
from twins.network.variants import Family, Variant

SIZES = ((0.66, 112), (1.0, 224))  # up to which share of the epochs a view has which side, in pixels
SERVED = 224  # pixels: the short side of what the served network is given
WIDTH, CHANNELS = 128, 64  # of the pyramid and of the head: half of what the published networks have
AREA = (0.15, 1.0)  # of the image that a view shows: things come near, too
PASTED = 0.5  # the share of images that get what their neighbour shows
ROUNDS, STEPS = 2, tuple(i / 4 for i in range(-16, 17))  # of moving biases
OVERLAP = 1.0  # the weight of the loss for how masks overlap, beside the one for single pixels


def student(variant: Variant, classes: int, classifier: Checkpoint | None) -> Segmenter:
    """A network to train; its trunk begins as that of the classifier."""
    network = Segmenter(Trunk(variant, Family()), Pyramid(variant.dims, WIDTH), FpnHead(WIDTH, CHANNELS, classes))
    for module in list(network.modules()):
        if isinstance(module, ConvNormRelu):
            module.bn = nn.BatchNorm2d(module.conv.out_channels)  # one that learns its statistics
    if classifier is not None:
        kept = {key: value.float() for key, value in classifier.state.items() if not key.startswith(("norm.", "head."))}
        network.backbone.load_state_dict(kept)
    return network


@dataclass(frozen=True)
class Batch:
    """Views and their masks."""

    x: Tensor  # B 3 S S, normalised
    masks: Tensor  # B S S, class ids, IGNORE_INDEX where none


class Masks:
    """A run's lesson: which pixel shows what."""

    def __init__(self, train: Pairs, test: Pairs, recipe: Recipe, classes: int) -> None:
        self.train, self.test, self.recipe, self.classes = train, test, recipe, classes
        self.steps = max(1, len(train) // recipe.batch)

    def batches(self, epoch: int) -> Iterator[Batch]:
        """The batches of an epoch."""
        random = np.random.default_rng((self.recipe.seed, epoch))
        side = views.side(SIZES, epoch, self.recipe.epochs)
        order = random.permutation(len(self.train))
        for step in range(self.steps):
            yield self.batch(order[step * self.recipe.batch :][: self.recipe.batch], side, random)

    def batch(self, chosen: NDArray[np.int64], side: int, random: np.random.Generator) -> Batch:
        """Random views of the chosen images, some with what another one shows pasted in."""
        dice = torch.Generator().manual_seed(int(random.integers(2**31)))
        images, masks = [self.train.images[i] for i in chosen], [self.train.masks[i] for i in chosen]
        numbers = random.integers(2**31, size=len(chosen)).tolist()
        boxes = [
            views.box(image.size, int(i), number, self.recipe.seed, AREA)
            for image, i, number in zip(images, chosen, numbers, strict=True)
        ]
        x = augment.normalise(torch.from_numpy(views.stack(images, boxes, side)))
        ids = torch.from_numpy(views.stack_masks(masks, boxes, side)).long()
        x, ids = augment.flip_both(augment.recolour(x, dice), ids, dice)
        return Batch(*augment.paste(x, ids, dice, PASTED))

    def loss(self, network: nn.Module, batch: Batch) -> Tensor:
        """Cross-entropy of the pixels, and how little the masks overlap."""
        logits = F.interpolate(
            mixed(network, batch.x), size=batch.masks.shape[-2:], mode="bilinear", align_corners=False
        )
        return F.cross_entropy(logits, batch.masks, ignore_index=IGNORE_INDEX) + OVERLAP * dice_loss(
            logits, batch.masks
        )

    def measure(self, network: nn.Module) -> float:
        """The mean over the classes of intersection over union on the test images, at a quarter of the input."""
        return mean_iou(*self.answers(network))

    @torch.inference_mode()
    def answers(self, network: nn.Module) -> tuple[Tensor, Tensor]:
        """Logits and true ids, P K and P, of all pixels of the test images that have a class."""
        logits, truths = [], []
        for image, mask in zip(self.test.images, self.test.masks, strict=True):
            scale = SERVED / min(image.size)
            size = (round(image.width * scale), round(image.height * scale))
            (found,) = network(augment.normalise(torch.from_numpy(np.array(image.resize(size))[None])))  # K H W
            small = mask.resize((found.shape[2], found.shape[1]), Image.Resampling.NEAREST)
            truth = torch.from_numpy(np.array(small)).long()
            logits.append(found[:, truth != IGNORE_INDEX].T)
            truths.append(truth[truth != IGNORE_INDEX])
        return torch.cat(logits), torch.cat(truths)

    def calibrate(self, network: nn.Module) -> None:
        """Moves the classes' biases to where the test images' mean IoU is highest, one at a time, then again.

        What is pasted in, and the Dice loss, make a network see more of every class than there is.
        """
        assert isinstance(network, Segmenter)
        head = network.decode_head.conv_seg
        assert isinstance(head, nn.Conv2d)
        assert head.bias is not None
        logits, truth = self.answers(network)
        moved = torch.zeros(self.classes)
        for number in list(range(1, self.classes)) * ROUNDS:
            tried = [moved.index_fill(0, torch.tensor([number]), step) for step in STEPS]
            moved = max(tried, key=lambda biases: mean_iou(logits + biases, truth))
        head.bias.data.add_(moved)


def mean_iou(logits: Tensor, truth: Tensor) -> float:
    """logits: P K; truth: P. Over the classes that are there or answered."""
    classes = logits.shape[1]
    counts = torch.bincount(truth * classes + logits.argmax(1), minlength=classes**2).view(classes, classes)
    both, either = counts.diagonal(), counts.sum(0) + counts.sum(1) - counts.diagonal()
    return float((both[either > 0] / either[either > 0]).mean())


def dice_loss(logits: Tensor, masks: Tensor) -> Tensor:
    """logits: B K S S; masks: B S S. One less the mean over the classes of 2·|both| / (|found| + |true|)."""
    known = (masks != IGNORE_INDEX).unsqueeze(1)
    truth = F.one_hot(masks.where(masks != IGNORE_INDEX, 0), logits.shape[1]).permute(0, 3, 1, 2) * known
    found = logits.softmax(1) * known
    both, either = (found * truth).sum((0, 2, 3)), (found + truth).sum((0, 2, 3))
    return 1 - ((2 * both + 1) / (either + 1)).mean()
