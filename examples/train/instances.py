"""The training objective of a detector and a segmentation network that share a backbone and a pyramid.

Each image has a mask of class ids and the boxes and masks of its objects. Both networks learn from every crop, so that
the boxes profit from the masks and the other way round. They are saved as two checkpoints.

Legend: B batch · S side of a crop · K classes without the background
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from examples.train import annotated_images, augment, crops, segment
from examples.train.annotated_images import AnnotatedImage, Objects
from examples.train.detection_loss import GroundTruth, choose, roi_loss, rpn_loss
from examples.train.pairs import Pairs
from examples.train.precision import mixed
from examples.train.run import Recipe, shuffled
from twins.checkpoints.checkpoint import Checkpoint
from twins.network.backbone import Backbone
from twins.network.heads.fpn import FpnHead, Pyramid
from twins.network.heads.mask_rcnn import STRIDES, BoxHead, MaskHead, MaskRcnn, RoiHead, RpnHead, RpnLevel, RpnPyramid
from twins.network.heads.segment import Segmenter
from twins.network.variants import Family, Variant

SIZES = ((0.35, 128), (0.75, 192), (1.0, 256))  # (fraction of the epochs, side of a crop in pixels until then)
AREA = (0.12, 1.0)  # fraction of the image that a crop covers
WIDTH, HIDDEN = 96, 384  # channels of the detector's pyramid and of its linear layers; the published ones: 256, 1024
OFTEN = 0.1  # fraction of the images; those of a rarer class are drawn more often
STEP = 2  # the loss of the mask takes every second pixel of every second line, which is a quarter of the work
LAYERS = (nn.Conv2d, nn.Linear, nn.ConvTranspose2d)
INPUT_SIDE = 320  # pixels; short side of the input of both served networks


class InstanceNetwork(nn.Module):
    """A detector, and the head of a segmentation network on the same pyramid."""

    def __init__(self, variant: Variant, classes: int) -> None:
        super().__init__()
        heads = RoiHead(BoxHead(WIDTH, HIDDEN, classes), MaskHead(WIDTH, classes))
        backbone, neck = Backbone(variant, Family()), RpnPyramid(variant.dims, WIDTH)
        self.detector = MaskRcnn(backbone, neck, RpnHead(WIDTH), heads)
        self.decode_head = segment.with_batch_norms(FpnHead(WIDTH, segment.CHANNELS, classes + 1))
        self.classes = classes

    def segmenter(self) -> Segmenter:
        """Return the segmentation network, which shares its parameters with this one."""
        neck = Pyramid((), WIDTH)
        neck.lateral_convs, neck.fpn_convs = self.detector.neck.lateral_convs, self.detector.neck.fpn_convs
        return Segmenter(self.detector.backbone, neck, self.decode_head)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return the logits of the mask, the five maps of the pyramid, and the tensors of each `RpnLevel`."""
        maps = self.detector.backbone.maps(x)
        levels = self.detector.neck(maps)
        bases = zip(levels, self.detector.bases, STRIDES, strict=True)
        proposed = [tensor for level, base, stride in bases for tensor in self.detector.level(level, base, stride)]
        return (self.decode_head(levels[: len(maps)]), *levels, *proposed)


def build(variant: Variant, classes: int, classifier: Checkpoint | None) -> InstanceNetwork:
    """Build both networks for training. Their backbone starts with the weights of the classifier, if there is one."""
    network = InstanceNetwork(variant, classes)
    for head in (network.detector.rpn_head, network.detector.roi_head):
        for module in head.modules():
            if isinstance(module, LAYERS):
                nn.init.normal_(module.weight, std=0.01)
    for module in (*network.detector.roi_head.mask_head.modules(), *network.detector.roi_head.bbox_head.shared_fcs):
        if isinstance(module, LAYERS):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
    if classifier is not None:
        segment.start(network.detector.backbone, classifier)
    return network


@dataclass(frozen=True)
class Batch:
    """Crops with their masks and objects."""

    x: Tensor  # B 3 S S, normalised
    masks: Tensor  # B S S, class ids or IGNORE_INDEX
    truths: tuple[GroundTruth, ...]


class Instances:
    """The objective of both networks."""

    def __init__(self, train: Sequence[AnnotatedImage], test: Pairs, recipe: Recipe, classes: int) -> None:
        self.train = annotated_images.with_repeats(train, classes, OFTEN, recipe.seed)
        self.recipe, self.classes = recipe, classes
        self.masks = segment.Segmentation(test, test, recipe, classes + 1, INPUT_SIDE)
        self.steps = max(1, len(self.train) // recipe.batch)

    def batches(self, epoch: int) -> Iterator[Batch]:
        """Yield the batches of an epoch."""
        side = crops.side(SIZES, epoch, self.recipe.epochs)
        for chosen, random in shuffled(len(self.train), self.recipe, epoch):
            yield self.batch(chosen, side, random)

    def batch(self, chosen: NDArray[np.int64], side: int, random: np.random.Generator) -> Batch:
        """Return random crops of the chosen images, augmented, with their masks and objects."""
        generator = torch.Generator().manual_seed(int(random.integers(2**31)))
        found = [self.train[i] for i in chosen]
        boxes = crops.boxes((each.image.size for each in found), chosen, random, self.recipe.seed, AREA)
        objects = [annotated_images.crop(each, box, side) for each, box in zip(found, boxes, strict=True)]
        x = augment.normalise(torch.from_numpy(crops.stack([each.image for each in found], boxes, side)))
        ids = torch.from_numpy(crops.stack_masks([each.mask for each in found], boxes, side)).long()
        mirrored = augment.bernoulli(x, generator)
        x, ids = augment.mirror(augment.recolour(x, generator), mirrored), augment.mirror(ids, mirrored)
        objects = [
            annotated_images.mirrored(each, side) if flip else each
            for each, flip in zip(objects, mirrored.tolist(), strict=True)
        ]
        return Batch(x, ids, tuple(truth(each) for each in objects))

    def loss(self, network: nn.Module, batch: Batch) -> Tensor:
        """Return the sum of the losses of the mask, the proposals and the regions."""
        assert isinstance(network, InstanceNetwork)
        logits, *outputs = mixed(network, batch.x)
        maps, proposed = outputs[: len(STRIDES)], outputs[len(STRIDES) :]
        levels = [RpnLevel(*proposed[start : start + 3]) for start in range(0, len(proposed), 3)]
        size = (batch.x.shape[-2], batch.x.shape[-1])
        known = [index for index, each in enumerate(batch.truths) if each.known]
        loss = segment.pixel_loss(logits, batch.masks[:, 1::STEP, 1::STEP]) + rpn_loss(levels, batch.truths)
        if not known:
            return loss
        truths = [batch.truths[index] for index in known]
        chosen = [choose(levels, index, batch.truths[index], size, self.classes) for index in known]
        return loss + roi_loss(network.detector.roi_head, [each[known] for each in maps], chosen, truths)

    def measure(self, network: nn.Module) -> float:
        """Return the mean IoU of the masks on the test images."""
        assert isinstance(network, InstanceNetwork)
        return self.masks.measure(network.segmenter())

    def calibrate(self, network: nn.Module) -> None:
        """Adjust the biases of the segmentation network."""
        assert isinstance(network, InstanceNetwork)
        self.masks.calibrate(network.segmenter())


def truth(objects: Objects) -> GroundTruth:
    """Return the objects of a crop as tensors."""
    boxes, classes, masks = map(torch.from_numpy, (objects.boxes, objects.classes, objects.masks))
    return GroundTruth(
        boxes, classes, masks, torch.from_numpy(objects.has_mask), torch.from_numpy(objects.ignored), objects.known
    )
