"""Unpickling that runs no code from the file.

Classes on an allow-list are used as they are. An object of any other class is replaced by an `Inert` object, which
only keeps the attributes that the file gives it. `twins convert` reads training checkpoints and whole pickled models
this way; their classes need not be installed.
"""

import pickle
from collections.abc import Iterator, Mapping
from types import ModuleType
from typing import Any, NamedTuple

ALLOWED = {
    ("collections", "OrderedDict"),
    ("builtins", "set"),
    ("__builtin__", "set"),  # its name in the pickle protocol that torch.save uses
    ("torch._utils", "_rebuild_tensor_v2"),
    ("torch._utils", "_rebuild_parameter"),
    ("torch._utils", "_rebuild_parameter_with_state"),
    ("torch", "Size"),
    *(("torch", f"{kind}Storage") for kind in ("Float", "Half", "BFloat16", "Double", "Long", "Int", "Bool", "Byte")),
}


class Inert:
    """Stand in for an object of a class that is not allowed. It accepts any state and runs nothing."""

    stands_for = ""  # the full name of the class in the file
    dump_patches = False  # PyTorch's reader of its old format looks at this attribute of a module's class

    def __new__(cls, *_: object, **__: object) -> "Inert":  # noqa: D102
        return super().__new__(cls)

    def __init__(self, *_: object, **__: object) -> None:
        self.attributes: Mapping[str, Any] = {}

    def __setstate__(self, state: object) -> None:
        self.attributes = state if isinstance(state, dict) else {}

    def __setitem__(self, _: object, __: object) -> None: ...

    def append(self, _: object) -> None:
        """Ignore an element of a list-like object."""

    def extend(self, _: object) -> None:
        """Ignore the elements of a list-like object."""

    def add(self, _: object) -> None:
        """Ignore an element of a set-like object."""


class TolerantUnpickler(pickle._Unpickler):
    """Find allowed classes only, and stand-ins for all others.

    The implementation in Python keeps its memo in a dictionary. The memo of the one in C is an array, for which a few
    bytes of a file can demand gigabytes.
    """

    def find_class(self, module: str, name: str) -> Any:
        """Return the class `module.name` if it is allowed, and otherwise a class of inert objects."""
        if (module, name) in ALLOWED:
            return super().find_class(module, name)
        return type("Inert", (Inert,), {"stands_for": f"{module}.{name}"})


def load(file: Any, **options: Any) -> Any:
    """Load a file as `pickle.load` does, with inert objects."""
    return TolerantUnpickler(file, **options).load()


tolerant_pickle = ModuleType("tolerant_pickle", __doc__)
tolerant_pickle.__dict__.update(Unpickler=TolerantUnpickler, load=load, UnpicklingError=pickle.UnpicklingError)


def attribute(module: Inert, name: str) -> Mapping[str, Any]:
    """Return an attribute of an inert object if it is a mapping, and otherwise an empty one."""
    value = getattr(module, "attributes", {}).get(name)  # an object without a state was never initialised
    return value if isinstance(value, Mapping) else {}


def is_module(value: object) -> bool:
    """Return whether a value stands for a `torch.nn.Module`."""
    return isinstance(value, Inert) and bool(attribute(value, "_parameters") or attribute(value, "_modules"))


class NamedValue(NamedTuple):
    """A parameter or buffer of a pickled module."""

    name: str  # as in the state dict
    value: object
    persistent: bool  # whether it is in the state dict


def named_values(root: Inert) -> Iterator[NamedValue]:
    """Yield the parameters and buffers of a pickled module and its submodules.

    Each module is visited once, so that a cycle ends.
    """
    waiting, seen = [("", root)], {id(root)}
    while waiting:
        prefix, module = waiting.pop()
        temporary = getattr(module, "attributes", {}).get("_non_persistent_buffers_set")
        temporary = temporary if isinstance(temporary, set) else set()
        for name, value in attribute(module, "_parameters").items():
            yield NamedValue(f"{prefix}{name}", value, persistent=True)
        for name, value in attribute(module, "_buffers").items():
            yield NamedValue(f"{prefix}{name}", value, persistent=name not in temporary)
        for name, child in attribute(module, "_modules").items():
            if isinstance(child, Inert) and id(child) not in seen:
                seen.add(id(child))
                waiting.append((f"{prefix}{name}.", child))
