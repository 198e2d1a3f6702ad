"""The models to serve, their labels and their preprocessing, from the settings."""

from dataclasses import replace
from pathlib import Path

from service.settings import Settings, SettingsError
from twins.errors import BadOption
from twins.preprocessing import NO_VALUES, SYNTAX, Preprocessing, parse_preprocessing
from twins.zoo.models import ModelReference, parse_reference


def parse_references(settings: Settings) -> tuple[ModelReference, ...]:
    """Return the models in the given order. Raises UnknownModel, SettingsError."""
    preprocessing = parse_preprocess(settings)
    parsed = tuple(parse_reference(text) for text in settings.models)
    references = tuple(replace(each, preprocessing=preprocessing.get(each.name, NO_VALUES)) for each in parsed)
    names = [reference.name for reference in references]
    if not names:
        raise SettingsError("no model is given")
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise SettingsError(f"the model {twice} is given twice")
    for text in settings.labels:
        model_of(text, references)
    if unknown := preprocessing.keys() - set(names):
        raise SettingsError(f"--preprocess: no model {min(unknown)} is served")
    return references


def parse_preprocess(settings: Settings) -> dict[str, Preprocessing]:
    """Return the preprocessing values in the settings by model. Raises SettingsError."""
    found: dict[str, Preprocessing] = {}
    for text in settings.preprocess:
        name, colon, values = text.partition(":")
        if not (name and colon):
            raise SettingsError(f"--preprocess {text}: name the model and its values as MODEL:{SYNTAX}")
        if name in found:
            raise SettingsError(f"--preprocess: the model {name} is given twice")
        try:
            found[name] = parse_preprocessing(values)
        except BadOption as error:
            raise SettingsError(f"--preprocess {text}: {error}") from error
    return found


def labels_file_for(reference: ModelReference, settings: Settings) -> Path | None:
    """Return the file with the class names of a model, if one is given."""
    references = parse_references(settings)
    return next(
        (
            Path(text.rpartition("=")[2])
            for text in settings.labels
            if model_of(text, references).name == reference.name
        ),
        None,
    )


def model_of(text: str, references: tuple[ModelReference, ...]) -> ModelReference:
    """Return the model that `MODEL=FILE` or `FILE` belongs to. Raises SettingsError."""
    name, equals, _ = text.rpartition("=")
    candidates = [
        reference
        for reference in references
        if (reference.name == name if equals else reference.checkpoint is not None)
    ]
    if len(candidates) == 1:
        return candidates[0]
    if equals:
        raise SettingsError(f"--labels {text}: no model {name} is served")
    if not candidates:
        raise SettingsError(f"--labels {text}: no checkpoint of your own is served; add --model NAME=FILE")
    raise SettingsError(f"--labels {text}: several checkpoints of your own are served; write --labels MODEL={text}")
