"""Unpickling that runs no code: classes from an allow-list are themselves, every other is an empty shell.

For `twins convert` on training checkpoints that hold objects of classes which need not be installed here.
"""

import pickle
from types import ModuleType
from typing import Any

ALLOWED = {
    ("collections", "OrderedDict"),
    ("torch._utils", "_rebuild_tensor_v2"),
    ("torch._utils", "_rebuild_parameter"),
    ("torch", "Size"),
    *(("torch", f"{kind}Storage") for kind in ("Float", "Half", "BFloat16", "Double", "Long", "Int", "Bool", "Byte")),
}


class Inert:
    """Stands for any object: takes whatever state it is given and does nothing with it."""

    def __new__(cls, *_: object, **__: object) -> "Inert":  # noqa: D102
        return super().__new__(cls)

    def __init__(self, *_: object, **__: object) -> None: ...

    def __setstate__(self, _: object) -> None: ...

    def __setitem__(self, _: object, __: object) -> None: ...

    def append(self, _: object) -> None:
        """Ignores what a list-like object would hold."""

    def extend(self, _: object) -> None:
        """Ignores what a list-like object would hold."""

    def add(self, _: object) -> None:
        """Ignores what a set-like object would hold."""


class TolerantUnpickler(pickle.Unpickler):
    """Finds allowed classes only; all others are `Inert`."""

    def find_class(self, module: str, name: str) -> Any:
        """The class `module.name`, or a shell in its place."""
        return super().find_class(module, name) if (module, name) in ALLOWED else Inert


def load(file: Any, **options: Any) -> Any:
    """As `pickle.load`, with inert classes."""
    return TolerantUnpickler(file, **options).load()


tolerant_pickle = ModuleType("tolerant_pickle", __doc__)
tolerant_pickle.__dict__.update(Unpickler=TolerantUnpickler, load=load, UnpicklingError=pickle.UnpicklingError)
