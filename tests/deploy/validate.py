"""Validate manifests against the schemas of Kubernetes' API and of the custom resources. Prints what is wrong.

It runs in the environment of `make .venv/kubernetes/installed`: `validate.py VERSION FILE…`. Every schema is strict: a
field that it does not know is an error, since an API server drops such fields without a word.
"""

import importlib
import importlib.util
import re
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import yaml
from pydantic import ValidationError

PYDANTIC = {
    ("monitoring.coreos.com/v1", "ServiceMonitor"): "cloudcoil.models.prometheus_operator.v1",
    ("monitoring.coreos.com/v1", "PrometheusRule"): "cloudcoil.models.prometheus_operator.v1",
    ("keda.sh/v1alpha1", "ScaledObject"): "cloudcoil.models.keda.v1alpha1",
}
"""The modules with the models of custom resources."""

KSERVE = {
    ("serving.kserve.io/v1alpha1", "ServingRuntime"): "V1alpha1ServingRuntime",
    ("serving.kserve.io/v1beta1", "InferenceService"): "V1beta1InferenceService",
}
"""The types of KServe's own client."""

PLAIN = {"str": str, "bool": bool, "int": int, "float": (int, float), "object": object, "datetime": str}


def errors(found: dict[str, Any], version: str) -> Iterator[str]:
    """Yield what is wrong with one object."""
    kind = found["apiVersion"], found["kind"]
    if kind in PYDANTIC:
        yield from pydantic_errors(found, getattr(importlib.import_module(PYDANTIC[kind]), found["kind"]))
    elif kind in KSERVE:
        yield from typed_errors(found, KSERVE[kind], found["kind"])
    else:
        try:
            kubernetes_validate.validate(found, version, strict=True)
        except kubernetes_validate.ValidationError as error:
            yield f"{'.'.join(map(str, error.path))}: {error.message}"


def pydantic_errors(found: dict[str, Any], model: Any) -> Iterator[str]:
    """Yield what a model of pydantic refuses, and what it drops because it does not know it."""
    try:
        read = model.model_validate(found).model_dump(by_alias=True, exclude_unset=True, mode="json")
    except ValidationError as error:
        yield str(error)
    else:
        yield from dropped(found, read, found["kind"])


def dropped(given: Any, read: Any, path: str) -> Iterator[str]:
    """Yield the paths of the values that are given and not read."""
    if isinstance(given, dict) and isinstance(read, dict):
        for name, value in given.items():
            if name not in read:
                yield f"{path}.{name}: unknown"
            else:
                yield from dropped(value, read[name], f"{path}.{name}")
    elif isinstance(given, list) and isinstance(read, list):
        for number, (one, other) in enumerate(zip(given, read, strict=True)):
            yield from dropped(one, other, f"{path}[{number}]")


def typed_errors(given: Any, name: str, path: str) -> Iterator[str]:
    """Yield where a value differs from a type of the clients of KServe and Kubernetes."""
    if inner := re.fullmatch(r"list\[(.*)\]", name):
        values = enumerate(given) if isinstance(given, list) else ()
        yield from () if isinstance(given, list) else (f"{path}: not a list",)
        for number, value in values:
            yield from typed_errors(value, inner[1], f"{path}[{number}]")
    elif inner := re.fullmatch(r"dict\(str, (.*)\)", name):
        yield from () if isinstance(given, dict) else (f"{path}: not a map",)
        for key, value in given.items() if isinstance(given, dict) else ():
            yield from typed_errors(value, inner[1], f"{path}.{key}")
    elif name in PLAIN:
        right = isinstance(given, PLAIN[name]) and (name == "bool" or not isinstance(given, bool))
        yield from () if right else (f"{path}: {given!r} is no {name}",)
    else:
        yield from object_errors(given, type_of(name), path)


def object_errors(given: Any, declared: Any, path: str) -> Iterator[str]:
    """Yield where an object differs from a generated class."""
    if not hasattr(declared, "attribute_map"):  # quantities, and numbers that may be texts
        return
    if not isinstance(given, dict):
        yield f"{path}: {given!r} is no object"
        return
    types_of = {key: declared.openapi_types[attribute] for attribute, key in declared.attribute_map.items()}
    for name, value in given.items():
        if name in types_of:
            yield from typed_errors(value, types_of[name], f"{path}.{name}")
        else:
            yield f"{path}.{name}: unknown"


def type_of(name: str) -> Any:
    """Return a generated class by its name, or None if neither client has it."""
    for package in ("kserve.models", "kubernetes.client.models"):
        if found := getattr(importlib.import_module(package), name, None):
            return found
    return None


def without_server() -> None:
    """Make the types of KServe importable without the libraries of its server."""
    (location,) = importlib.util.find_spec("kserve").submodule_search_locations
    package = types.ModuleType("kserve")
    package.__path__ = [location]
    sys.modules["kserve"] = package


def main(version: str, *files: str) -> int:
    """Print what is wrong with files of manifests, and return how much that is."""
    without_server()
    wrong = [
        f"{Path(file).name}: {found['kind']}: {error}"
        for file in files
        for found in yaml.safe_load_all(Path(file).read_text("utf-8"))
        if found
        for error in errors(found, version)
    ]
    sys.stdout.write("".join(f"{line}\n" for line in wrong))
    return min(len(wrong), 100)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
