"""The rendered manifests, as the tests read them."""

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.programs import REQUIRED
from tools.chart import CASES, DEPLOY, HELM, RENDERED, manifests

NAMES = [case.name for case in sorted(CASES.glob("*.yaml"))]
KSERVE = sorted((DEPLOY / "kserve").glob("*.yaml"))
ADAPTER = DEPLOY / "prometheus-adapter" / "values.yaml"
PYTHON = HELM.parent / "python"


def need_helm() -> None:
    """Skip the test where Helm cannot run."""
    try:
        subprocess.run([HELM, "version"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        reason = "Helm does not run; see `make .venv/kubernetes/installed`"
        pytest.fail(reason) if os.environ.get(REQUIRED) else pytest.skip(reason)


def golden(name: str) -> list[dict[str, Any]]:
    """Return the objects of a case, as they are in the repository."""
    return manifests((RENDERED / name).read_text("utf-8"))


def of_kind(kind: str, objects: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the first object of a kind."""
    return next(found for found in objects if found["kind"] == kind)


def pod_of(objects: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the specification of the pods of a Deployment."""
    return of_kind("Deployment", objects)["spec"]["template"]["spec"]


def service_container(objects: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the container of the service."""
    (found,) = pod_of(objects)["containers"]
    return found


def variables(container: dict[str, Any]) -> dict[str, str]:
    """Return the variables of a container that have a value of their own."""
    return {each["name"]: each["value"] for each in container.get("env", ()) if "value" in each}


def read(path: Path) -> Any:
    """Return a YAML file."""
    return yaml.safe_load(path.read_text("utf-8"))
