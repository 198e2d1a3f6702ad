"""The training objective of a segmentation network: images and their masks.

Legend: B batch · S side of a crop · K classes · H W image · P pixels
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from examples.train import augment, crops
from examples.train.pairs import IGNORE_INDEX, Pairs
from examples.train.precision import mixed
from examples.train.run import Recipe, shuffled
from twins.checkpoints.checkpoint import Checkpoint
from twins.network.backbone import Backbone
from twins.network.heads.conv import ConvNormRelu
from twins.network.heads.fpn import FpnHead, Pyramid
from twins.network.heads.segment import Segmenter
from twins.network.variants import Family, Variant

SIZES = ((0.66, 112), (1.0, 224))  # (fraction of the epochs, side of a crop in pixels until then)
INPUT_SIDE = 224  # pixels; short side of the input of the served network
WIDTH, CHANNELS = 128, 64  # channels of the pyramid and of the head; the published networks have twice as many
AREA = (0.15, 1.0)  # fraction of the image that a crop covers; small crops show objects from close by
PASTE_PROBABILITY = 0.5  # fraction of the images that get the foreground of their neighbour
ROUNDS, BIASES = 2, tuple(i / 4 for i in range(-16, 17))  # for the calibration of the biases
DICE_WEIGHT = 1.0  # weight of the Dice loss relative to the cross-entropy


def build(variant: Variant, classes: int, classifier: Checkpoint | None) -> Segmenter:
    """Build a network for training. Its backbone starts with the weights of the classifier, if there is one."""
    head = with_batch_norms(FpnHead(WIDTH, CHANNELS, classes))
    network = Segmenter(Backbone(variant, Family()), Pyramid(variant.dims, WIDTH), head)
    if classifier is not None:
        start(network.backbone, classifier)
    return network


def with_batch_norms(head: FpnHead) -> FpnHead:
    """Return the same head with batch norms that update their statistics."""
    for module in list(head.modules()):
        if isinstance(module, ConvNormRelu):
            module.bn = nn.BatchNorm2d(module.conv.out_channels)
    return head


def start(backbone: Backbone, classifier: Checkpoint) -> None:
    """Load the weights of a classifier into a backbone."""
    backbone.load_state_dict(backbone_state(classifier))


def backbone_state(classifier: Checkpoint) -> dict[str, Tensor]:
    """Return the parameters of a classifier without its head."""
    return {key: value.float() for key, value in classifier.state.items() if not key.startswith(("norm.", "head."))}


@dataclass(frozen=True)
class Batch:
    """Crops and their masks."""

    x: Tensor  # B 3 S S, normalised
    masks: Tensor  # B S S, class ids or IGNORE_INDEX


class Segmentation:
    """The objective of a segmentation network."""

    def __init__(self, train: Pairs, test: Pairs, recipe: Recipe, classes: int, input_side: int = INPUT_SIDE) -> None:
        self.train, self.test, self.recipe, self.classes, self.input_side = train, test, recipe, classes, input_side
        self.steps = max(1, len(train) // recipe.batch)

    def batches(self, epoch: int) -> Iterator[Batch]:
        """Yield the batches of an epoch."""
        side = crops.side(SIZES, epoch, self.recipe.epochs)
        for chosen, random in shuffled(len(self.train), self.recipe, epoch):
            yield self.batch(chosen, side, random)

    def batch(self, chosen: NDArray[np.int64], side: int, random: np.random.Generator) -> Batch:
        """Return random crops of the chosen images, augmented, with their masks."""
        generator = torch.Generator().manual_seed(int(random.integers(2**31)))
        images, masks = [self.train.images[i] for i in chosen], [self.train.masks[i] for i in chosen]
        boxes = crops.boxes((image.size for image in images), chosen, random, self.recipe.seed, AREA)
        x = augment.normalise(torch.from_numpy(crops.stack(images, boxes, side)))
        ids = torch.from_numpy(crops.stack_masks(masks, boxes, side)).long()
        x, ids = augment.flip_both(augment.recolour(x, generator), ids, generator)
        return Batch(*augment.paste(x, ids, generator, PASTE_PROBABILITY))

    def loss(self, network: nn.Module, batch: Batch) -> Tensor:
        """Return the cross-entropy of the pixels plus the Dice loss."""
        return pixel_loss(mixed(network, batch.x), batch.masks)

    def measure(self, network: nn.Module) -> float:
        """Return the mean IoU on the test images at a quarter of the input size."""
        return mean_iou(*self.logits(network))

    @torch.inference_mode()
    def logits(self, network: nn.Module) -> tuple[Tensor, Tensor]:
        """Return the logits P K and the true ids P of all pixels of the test images that have a class."""
        logits, truths = [], []
        device = next(network.parameters()).device
        for image, mask in zip(self.test.images, self.test.masks, strict=True):
            scale = self.input_side / min(image.size)
            size = (round(image.width * scale), round(image.height * scale))
            x = augment.normalise(torch.from_numpy(np.array(image.resize(size))[None]))
            (found,) = network(x.to(device)).cpu()  # K H W
            small = mask.resize((found.shape[2], found.shape[1]), Image.Resampling.NEAREST)
            truth = torch.from_numpy(np.array(small)).long()
            logits.append(found[:, truth != IGNORE_INDEX].T)
            truths.append(truth[truth != IGNORE_INDEX])
        return torch.cat(logits), torch.cat(truths)

    def calibrate(self, network: nn.Module) -> None:
        """Adjust the bias of each class in turn, twice, to the highest mean IoU on the test images.

        Pasted objects and the Dice loss make a network overestimate the area of every class.
        """
        assert isinstance(network, Segmenter)
        head = network.decode_head.conv_seg
        assert isinstance(head, nn.Conv2d)
        assert head.bias is not None
        logits, truth = self.logits(network)
        biases = torch.zeros(self.classes)
        for number in list(range(1, self.classes)) * ROUNDS:
            candidates = [biases.index_fill(0, torch.tensor([number]), bias) for bias in BIASES]
            biases = max(candidates, key=lambda each: mean_iou(logits + each, truth))
        head.bias.data.add_(biases.to(head.bias.device))


def mean_iou(logits: Tensor, truth: Tensor) -> float:
    """Return the mean IoU of the classes that are true or predicted for some pixel. logits: P K; truth: P."""
    classes = logits.shape[1]
    counts = torch.bincount(truth * classes + logits.argmax(1), minlength=classes**2).view(classes, classes)
    both, either = counts.diagonal(), counts.sum(0) + counts.sum(1) - counts.diagonal()
    return float((both[either > 0] / either[either > 0]).mean())


def pixel_loss(logits: Tensor, masks: Tensor) -> Tensor:
    """Return the sum of the cross-entropy and the Dice loss. logits: B K of any size; masks: B S S."""
    logits = F.interpolate(logits, size=masks.shape[-2:], mode="bilinear", align_corners=False)
    known = F.cross_entropy(logits, masks, ignore_index=IGNORE_INDEX)
    return known + DICE_WEIGHT * dice_loss(logits, masks)


def dice_loss(logits: Tensor, masks: Tensor) -> Tensor:
    """Return 1 - mean(2·|A∩B| / (|A| + |B|)) over the classes. logits: B K S S; masks: B S S."""
    known = (masks != IGNORE_INDEX).unsqueeze(1)
    truth = F.one_hot(masks.where(masks != IGNORE_INDEX, 0), logits.shape[1]).permute(0, 3, 1, 2) * known
    found = logits.softmax(1) * known
    both, either = (found * truth).sum((0, 2, 3)), (found + truth).sum((0, 2, 3))
    return 1 - ((2 * both + 1) / (either + 1)).mean()
