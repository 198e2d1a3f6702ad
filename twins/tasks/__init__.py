"""One file a task: preprocess, postprocess, result type. No torch: this runs in the frontends."""

from types import ModuleType

from twins.card import TaskName
from twins.tasks import classify

Options = classify.Options
Result = classify.Classification

TASKS: dict[TaskName, ModuleType] = {"classify": classify}
"""A task's module has `preprocess(picture, card)`, `postprocess(output, card, options)` and `Options`."""
