"""Generate what the Helm chart takes from the code, and render the chart with real values.

`python -m tools.chart` writes the settings into the chart's schema, and the rendered manifests of each file of
`tests/deploy/values`. `tests/deploy/` compares both. It needs the Helm of `make .venv/kubernetes/installed`.
"""

import json
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from service.settings import Settings
from tools.documents import ROOT

DEPLOY = ROOT / "deploy"
CHART = DEPLOY / "helm"
SCHEMA = CHART / "values.schema.json"
CASES = ROOT / "tests" / "deploy" / "values"
RENDERED = ROOT / "tests" / "deploy" / "golden"
HELM = ROOT / ".venv" / "kubernetes" / "bin" / "helm"
RELEASE = NAMESPACE = "twins"

OWN_VALUES = {
    *("host", "http_port", "grpc_port", "drain_delay_s", "grace_s", "models", "model_repository", "keys_file"),
    *("tls_certificate", "tls_key", "tls_client_ca", "api_keys"),
}
"""The settings that the chart sets from values of its own, and API keys, which belong into a secret."""

KEPT = {"type", "enum", "items", "minItems", "pattern", "minimum", "exclusiveMinimum", "maximum", "description"}
"""What the schema of a value says of a setting."""


class ChartError(Exception):
    """Helm refused the chart or its values."""


def setting_schema() -> dict[str, Any]:
    """Return the schema of the value `settings`: every setting that has no value of its own."""
    declared = Settings.model_json_schema()["properties"].items()
    return {name: dict(kept(schema)) for name, schema in declared if name not in OWN_VALUES}


def kept(schema: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield the parts of a setting's schema. What may be missing is left out of the values instead of being null."""
    given = {**schema, **next((each for each in schema.get("anyOf", ()) if each["type"] != "null"), {})}
    return ((name, value) for name, value in given.items() if name in KEPT)


def schema_text() -> str:
    """Return the chart's schema with the settings of the code."""
    schema = json.loads(SCHEMA.read_text("utf-8"))
    schema["properties"]["settings"]["properties"] = setting_schema()
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def helm(*arguments: object) -> str:
    """Run Helm and return what it prints. Raises ChartError."""
    command = [HELM, *map(str, arguments)]
    ran = subprocess.run(command, check=False, capture_output=True, text=True)  # noqa: S603 - our own arguments
    if ran.returncode:
        raise ChartError(ran.stderr or ran.stdout)
    return ran.stdout


def render(*values: Path, chosen: Mapping[str, object] | None = None, release: str = RELEASE) -> str:
    """Return the manifests for files of values, and for single values by their path. Raises ChartError."""
    files = [word for path in values for word in ("--values", path)]
    single = [word for name, value in (chosen or {}).items() for word in ("--set-json", f"{name}={json.dumps(value)}")]
    return helm("template", release, CHART, "--namespace", NAMESPACE, "--skip-tests", *files, *single)


def hook() -> str:
    """Return the pod of `helm test`."""
    return helm("template", RELEASE, CHART, "--namespace", NAMESPACE, "--show-only", "templates/tests/ready.yaml")


def rendered() -> dict[str, str]:
    """Return the manifests of every case, by the name of the file that has them."""
    return {**{case.name: render(case) for case in sorted(CASES.glob("*.yaml"))}, "hook.yaml": hook()}


def manifests(text: str) -> list[dict[str, Any]]:
    """Return the objects of a rendered chart."""
    return [found for found in yaml.safe_load_all(text) if found]


if __name__ == "__main__":
    SCHEMA.write_text(schema_text(), "utf-8")
    RENDERED.mkdir(exist_ok=True)
    for name, text in rendered().items():
        (RENDERED / name).write_text(text, "utf-8")
