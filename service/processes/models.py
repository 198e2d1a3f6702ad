"""The models to serve, their labels and their preprocessing, from the settings."""

from dataclasses import replace
from pathlib import Path

from service.settings import Settings, SettingsError
from twins.errors import BadOption
from twins.preprocessing import NO_VALUES, SYNTAX, Preprocessing, parse_preprocessing
from twins.zoo import repository
from twins.zoo.models import ModelReference, parse_reference


def parse_references(settings: Settings) -> tuple[ModelReference, ...]:
    """Return the models of the flags in their order, then those of the repository.

    Raises UnknownModel, SettingsError, RepositoryError.
    """
    preprocessing = parse_preprocess(settings)
    parsed = tuple(parse_reference(text) for text in given_models(settings))
    references = tuple(replace(each, preprocessing=preprocessing.get(each.name, NO_VALUES)) for each in parsed)
    names = [reference.name for reference in references]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise SettingsError(f"the model {twice} is given twice")
    given = {model_of(text, references).name: Path(text.rpartition("=")[2]) for text in settings.labels}
    if unknown := preprocessing.keys() - set(names):
        raise SettingsError(f"--preprocess: no model {min(unknown)} is served")
    labelled = tuple(replace(each, labels_file=given.get(each.name)) for each in references)
    return with_repository(labelled, settings)


def given_models(settings: Settings) -> tuple[str, ...]:
    """Return the models of the flags. With a repository, those that ship are not served unless they are given."""
    return () if settings.model_repository and "models" not in settings.model_fields_set else settings.models


def with_repository(references: tuple[ModelReference, ...], settings: Settings) -> tuple[ModelReference, ...]:
    """Return the references and those of the repository. Raises SettingsError, RepositoryError."""
    found = repository.references(settings.model_repository) if settings.model_repository else ()
    names = {reference.name for reference in references}
    if twice := next((each.name for each in found if each.name in names), None):
        raise SettingsError(f"the model {twice} is given by --model and is in the repository")
    if not (references or found or (settings.model_repository and can_change(settings))):
        where = f" and {settings.model_repository} has none" if settings.model_repository else ""
        raise SettingsError(f"no model is given{where}")
    return references + found


def can_change(settings: Settings) -> bool:
    """Return whether models can be loaded while the service runs."""
    return settings.allow_model_control or settings.model_poll_s > 0


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


def model_of(text: str, references: tuple[ModelReference, ...]) -> ModelReference:
    """Return the model that `MODEL=FILE` or `FILE` belongs to. Raises SettingsError."""
    name, equals, _ = text.rpartition("=")
    candidates = [reference for reference in references if (reference.name == name if equals else reference.is_own)]
    if len(candidates) == 1:
        return candidates[0]
    if equals:
        raise SettingsError(f"--labels {text}: no model {name} is served")
    if not candidates:
        raise SettingsError(f"--labels {text}: no checkpoint of your own is served; add --model NAME=FILE")
    raise SettingsError(f"--labels {text}: several checkpoints of your own are served; write --labels MODEL={text}")
