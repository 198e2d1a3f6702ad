"""Which models to serve, and whose labels are whose, from the settings."""

from pathlib import Path

from service.settings import Settings, SettingsError
from twins.zoo import models as zoo
from twins.zoo.models import Spec


def parse_models(settings: Settings) -> tuple[Spec, ...]:
    """The models in the order given. Raises UnknownModel, SettingsError."""
    specs = tuple(zoo.parse(text) for text in settings.models)
    names = [spec.name for spec in specs]
    if not names:
        raise SettingsError("no model is given")
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise SettingsError(f"the model {twice} is given twice")
    for text in settings.labels:
        owner(text, specs)
    return specs


def labels_for(spec: Spec, settings: Settings) -> Path | None:
    """The file with this model's class names, if one was given."""
    specs = parse_models(settings)
    return next((Path(text.rpartition("=")[2]) for text in settings.labels if owner(text, specs) == spec), None)


def owner(text: str, specs: tuple[Spec, ...]) -> Spec:
    """The model that `MODEL=FILE` or `FILE` is about. Raises SettingsError."""
    name, equals, _ = text.rpartition("=")
    candidates = [spec for spec in specs if (spec.name == name if equals else spec.checkpoint is not None)]
    if len(candidates) == 1:
        return candidates[0]
    if equals:
        raise SettingsError(f"labels {text}: no model {name} is served")
    raise SettingsError(f"labels {text}: say whose, as MODEL={text}; own checkpoints served: {len(candidates)}")
