"""Print what is installed as a bill of materials: CycloneDX 1.6 in JSON, with Python and Debian packages.

It has neither a time nor a serial number, so that two images with the same content have the same one.
"""

import json
import platform
import re
import subprocess
import sys
from importlib.metadata import Distribution, distributions
from typing import Any
from urllib.parse import quote

PROJECT = "twins-serving"
CLASSIFIER = "License :: "
UNKNOWN = ("", "UNKNOWN")
HASHES = {"sha256": "SHA-256", "sha384": "SHA-384", "sha512": "SHA-512"}
DPKG = ("dpkg-query", "--show", "--showformat", "${db:Status-Abbrev}\t${Package}\t${Version}\t${Architecture}\n")
Component = dict[str, Any]


def python_component(found: Distribution) -> Component:
    """Return the component of a Python distribution."""
    name = re.sub(r"[-_.]+", "-", found.name).lower()
    purl = f"pkg:pypi/{name}@{quote(found.version)}"
    extra = {"licenses": licences(found), "hashes": hashes(found)}
    return component(found.name, found.version, purl) | {key: value for key, value in extra.items() if value}


def component(name: str, version: str, purl: str) -> Component:
    """Return the component of any package."""
    return {"type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl}


def licences(found: Distribution) -> list[dict[str, Any]]:
    """Return the licence that the metadata give: an expression, else classifiers, else the first line of a text."""
    if expression := found.metadata.get("License-Expression"):
        return [{"expression": expression}]
    classified = [each.rpartition(" :: ")[2] for each in found.metadata.get_all("Classifier", []) if CLASSIFIER in each]
    text = (found.metadata.get("License") or "").strip().partition("\n")[0]
    return [{"license": {"name": name}} for name in classified or [text] if name not in UNKNOWN]


def hashes(found: Distribution) -> list[dict[str, str]]:
    """Return the hashes of the archive that was installed, which pip records if it was given by its address."""
    origin = json.loads(found.read_text("direct_url.json") or "{}")
    known = origin.get("archive_info", {}).get("hashes", {})
    return [{"alg": HASHES[name], "content": value} for name, value in known.items() if name in HASHES]


def debian_components(listed: str, distribution: str) -> list[Component]:
    """Return the components of the installed packages that `dpkg-query` lists."""
    rows = (line.split("\t") for line in listed.splitlines())
    return [
        component(name, version, f"pkg:deb/{distribution}/{quote(name)}@{quote(version)}?arch={architecture}")
        for status, name, version, architecture in rows
        if status.startswith("ii")
    ]


def document(components: list[Component]) -> dict[str, Any]:
    """Return the bill of materials. The project's own distribution is what it is about."""
    own = next((each for each in components if each["name"] == PROJECT), component(PROJECT, "0", f"pkg:pypi/{PROJECT}"))
    others = {each["bom-ref"]: each for each in components if each is not own}
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": own | {"type": "application"}},
        "components": [others[reference] for reference in sorted(others)],
    }


if __name__ == "__main__":
    packages = subprocess.run(DPKG, check=True, capture_output=True, text=True).stdout  # noqa: S603 - no input of others
    found = [python_component(each) for each in distributions()]
    found += debian_components(packages, platform.freedesktop_os_release()["ID"])
    json.dump(document(found), sys.stdout, indent=1)
    sys.stdout.write("\n")
