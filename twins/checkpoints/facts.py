"""The facts about a checkpoint: everything but the values of its parameters. No torch."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from twins.card import TASK_OF, HeadName, TaskName
from twins.checkpoints.metadata import Declared
from twins.checkpoints.project_metadata import read_timm_config
from twins.network.variants import VARIANTS, Variant

TIMM_CONFIG = "config.json"  # in the directory of the weights
TIMM_TASK: TaskName = "classify"  # of all of timm's models


@dataclass(frozen=True)
class Facts:
    """A recognised checkpoint without its parameters."""

    format: str
    variant: Variant
    classes: int
    head: HeadName
    declared: Declared
    parameters: int  # values in all parameters

    @property
    def task(self) -> TaskName:
        """Return the task of a network with this head."""
        return TASK_OF[self.head]

    @property
    def variant_name(self) -> str:
        """Return the name of the variant in `VARIANTS` that has these values, or `custom`."""
        return next((name for name, row in VARIANTS.items() if row == self.variant), "custom")


Found = TypeVar("Found", bound=Facts)


def with_timm_config(found: Found, path: Path) -> Found:
    """Return the facts with the preprocessing in timm's `config.json`, if that is about the same architecture.

    Values in the checkpoint itself come first.
    """
    config = read_timm_config(path) if found.task == TIMM_TASK else None
    if config is None or config.architecture != f"twins_{found.variant_name}":
        return found
    declared = found.declared
    preprocessing = declared.preprocessing.with_defaults(config.preprocessing)
    return replace(found, declared=replace(declared, preprocessing=preprocessing))


def closest(variant: Variant) -> str:
    """Return the name of the known variant that shares most values with `variant`."""

    def shared(row: Variant) -> int:
        pairs = zip(
            row.dims + row.depths + row.mlp_ratios, variant.dims + variant.depths + variant.mlp_ratios, strict=False
        )
        return sum(mine == other for mine, other in pairs) + 2 * (row.kind == variant.kind)

    return max(VARIANTS, key=lambda name: shared(VARIANTS[name]))
