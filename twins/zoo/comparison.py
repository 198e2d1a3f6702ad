"""The networks of the paper, counted here, beside the paper's figures."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from twins.network.variants import VARIANTS, Variant
from twins.zoo.paper import COUNTINGS, PAPER, PaperEntry

if TYPE_CHECKING:
    from twins.network.cost import Cost

IMAGENET, ADE20K = 1000, 150  # classes of the unused classifier and of the auxiliary head
AUXILIARY = 256  # channels of the auxiliary head
DOUBLED = 4  # outputs of a transposed convolution for each input


@dataclass(frozen=True)
class Compared:
    """The cost of a network beside that in the paper. Parameters and activations in millions, FLOPs in billions."""

    table: str
    variant: str
    head: str
    size: tuple[int, int]  # (height, width) of the image
    parameters: float
    flops: float
    activations: float
    counted_parameters: float  # by the rules of the paper's table
    counted_flops: float
    paper_parameters: float | None
    paper_flops: float | None
    note: str


def compare(entries: Iterable[PaperEntry] = PAPER) -> Iterator[Compared]:
    """Yield the networks with their costs, which takes a tenth of a second for each. Imports torch."""
    from twins.network.cost import cost

    for entry in entries:
        found = cost(VARIANTS[entry.variant], entry.head, entry.size)
        yield Compared(
            table=entry.table,
            variant=entry.variant,
            head=entry.head,
            size=entry.size,
            parameters=found.parameters / 1e6,
            flops=found.multiply_adds / 1e9,
            activations=found.activations / 1e6,
            counted_parameters=counted_parameters(entry, found) / 1e6,
            counted_flops=counted_flops(entry, found) / 1e9,
            paper_parameters=entry.parameters,
            paper_flops=entry.flops,
            note=entry.note,
        )


def counted_parameters(entry: PaperEntry, found: "Cost") -> int:
    """Return the parameters by the rules of the paper's table."""
    rules, variant = COUNTINGS[entry.table], VARIANTS[entry.variant]
    return found.parameters + rules.classifier * unused(variant) + rules.auxiliary * auxiliary(variant)


def counted_flops(entry: PaperEntry, found: "Cost") -> int:
    """Return the multiply-adds by the rules of the paper's table."""
    rules = COUNTINGS[entry.table]
    left_out = 0 if rules.attention else found.attention
    return found.multiply_adds - left_out + rules.transposed_outputs * (DOUBLED - 1) * found.transposed


def unused(variant: Variant) -> int:
    """Return the parameters of the norm and the head that a backbone keeps from its classifier."""
    return variant.dims[-1] * (2 + IMAGENET) + IMAGENET


def auxiliary(variant: Variant) -> int:
    """Return the parameters of the auxiliary head on the third map: a convolution with batch norm, and a classifier."""
    return AUXILIARY * (9 * variant.dims[2] + 2) + ADE20K * (AUXILIARY + 1)
