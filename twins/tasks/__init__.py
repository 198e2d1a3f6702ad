"""One file a task: preprocess, postprocess, result type. No torch: this runs in the frontends."""

from types import ModuleType

from twins.card import TaskName
from twins.mask import Segmentation
from twins.tasks import classify, segment

Options = classify.Options | segment.Options
Result = classify.Classification | Segmentation

TASKS: dict[TaskName, ModuleType] = {"classify": classify, "segment": segment}
"""A task's module has `Options`, `check(options, card)`, `preprocess(picture, card, options)` and
`postprocess(output, card, options)`."""
