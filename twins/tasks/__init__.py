"""One file a task: preprocess, postprocess, result type. No torch: this runs in the frontends."""

from types import ModuleType

from twins.card import TaskName
from twins.tasks import classify, segment
from twins.tasks.segmentation import Segmentation

Options = classify.Options | segment.Options
Result = classify.Classification | Segmentation

TASKS: dict[TaskName, ModuleType] = {"classify": classify, "segment": segment}
"""A task's module has `Options`, `check(options, card)`, `preprocess(image, card, options)` and
`postprocess(output, card, options)`."""
