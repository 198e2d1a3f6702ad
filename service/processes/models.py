"""Which models to serve, and whose labels are whose, from the settings."""

from pathlib import Path

from service.settings import Settings, SettingsError
from twins.zoo.models import ModelReference, parse_reference


def parse_references(settings: Settings) -> tuple[ModelReference, ...]:
    """The models in the config given. Raises UnknownModel, SettingsError."""
    references = tuple(parse_reference(text) for text in settings.models)
    names = [reference.name for reference in references]
    if not names:
        raise SettingsError("no model is given")
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise SettingsError(f"the model {twice} is given twice")
    for text in settings.labels:
        owner(text, references)
    return references


def labels_file_for(reference: ModelReference, settings: Settings) -> Path | None:
    """The file with this model's class names, if one was given."""
    references = parse_references(settings)
    return next(
        (Path(text.rpartition("=")[2]) for text in settings.labels if owner(text, references).name == reference.name),
        None,
    )


def owner(text: str, references: tuple[ModelReference, ...]) -> ModelReference:
    """The model that `MODEL=FILE` or `FILE` is about. Raises SettingsError."""
    name, equals, _ = text.rpartition("=")
    candidates = [
        reference
        for reference in references
        if (reference.name == name if equals else reference.checkpoint is not None)
    ]
    if len(candidates) == 1:
        return candidates[0]
    if equals:
        raise SettingsError(f"labels {text}: no model {name} is served")
    raise SettingsError(f"labels {text}: say whose, as MODEL={text}; own checkpoints served: {len(candidates)}")
