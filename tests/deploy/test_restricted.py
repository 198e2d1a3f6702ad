"""The pods keep the rules of the Pod Security Standard "restricted", field by field."""

import copy
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.deploy.manifests import KSERVE, NAMES, golden, pod_of, read
from tools.chart import DEPLOY

VOLUMES = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}
SYSCTLS = "sysctls"
ADDED = {"NET_BIND_SERVICE"}


def containers(pod: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield all containers of a pod."""
    for kind in ("initContainers", "containers", "ephemeralContainers"):
        yield from pod.get(kind, ())


def violations(pod: dict[str, Any]) -> Iterator[str]:
    """Yield what the standard forbids in a pod."""
    of_pod = pod.get("securityContext", {})
    yield from (name for name in ("hostNetwork", "hostPID", "hostIPC") if pod.get(name))
    yield from (f"volume {each['name']}" for each in pod.get("volumes", ()) if not set(each) - {"name"} <= VOLUMES)
    if of_pod.get(SYSCTLS):
        yield SYSCTLS
    for container in containers(pod):
        yield from (f"{container['name']}: {what}" for what in forbidden(container, of_pod))


def forbidden(container: dict[str, Any], of_pod: dict[str, Any]) -> Iterator[str]:
    """Yield what the standard forbids in a container, whose fields come before those of the pod."""
    own = container.get("securityContext", {})
    both = {**of_pod, **own}
    capabilities = own.get("capabilities", {})
    checks = {
        "privileged": not own.get("privileged"),
        "allowPrivilegeEscalation": own.get("allowPrivilegeEscalation") is False,
        "capabilities": capabilities.get("drop") == ["ALL"] and set(capabilities.get("add", ())) <= ADDED,
        "runAsNonRoot": both.get("runAsNonRoot") is True,
        "runAsUser": both.get("runAsUser") != 0,
        "seccompProfile": both.get("seccompProfile", {}).get("type") in ("RuntimeDefault", "Localhost"),
        "procMount": own.get("procMount", "Default") == "Default",
        "hostPort": not any(port.get("hostPort") for port in container.get("ports", ())),
    }
    yield from (name for name, kept in checks.items() if not kept)


def pods() -> dict[str, dict[str, Any]]:
    """Return the pods of all manifests."""
    return {
        **{name: pod_of(golden(name)) for name in NAMES},
        "the pod of helm test": golden("hook.yaml")[0]["spec"],
        "the runtime of KServe": read(DEPLOY / "kserve" / "servingruntime.yaml")["spec"],
    }


@pytest.mark.parametrize("name", pods())
def test_a_pod_is_restricted(name):
    assert list(violations(pods()[name])) == []


@pytest.mark.parametrize("name", pods())
def test_a_container_cannot_write_to_its_image(name):
    assert all(each["securityContext"]["readOnlyRootFilesystem"] for each in containers(pods()[name]))


def with_volume(pod: dict) -> None:
    pod["volumes"].append({"name": "host", "hostPath": {"path": "/"}})


def change(name: str, value: object) -> Callable[[dict], None]:
    """Return a change of the first container's security."""
    return lambda pod: pod["containers"][0]["securityContext"].__setitem__(name, value)


@pytest.mark.parametrize(
    "spoil",
    [
        with_volume,
        lambda pod: pod.update(hostNetwork=True),
        lambda pod: pod["securityContext"].pop("seccompProfile"),
        lambda pod: pod["securityContext"].update(runAsNonRoot=False),
        change("runAsUser", 0),
        change("capabilities", {"drop": ["NET_RAW"]}),
        change("allowPrivilegeEscalation", value=True),
        change("privileged", value=True),
    ],
)
def test_a_pod_that_breaks_a_rule_is_noticed(spoil):
    pod = copy.deepcopy(pod_of(golden("default.yaml")))
    spoil(pod)
    assert len(list(violations(pod))) == 1


def test_nothing_but_the_examples_of_kserve_is_left_out():
    assert {path.name for path in KSERVE} == {"inferenceservice.yaml", "servingruntime.yaml"}
