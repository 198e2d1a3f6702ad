"""What the manifests name exists in the product: ports, paths, variables, folders, metrics and services."""

import re

import pytest
import yaml
from google.protobuf.descriptor import ServiceDescriptor

from service.environment import PREFIX
from service.pb.twins.v1 import twins_pb2
from service.settings import Settings
from tests.deploy.manifests import (
    ADAPTER,
    KSERVE,
    NAMES,
    golden,
    of_kind,
    pod_of,
    read,
    service_container,
    variables,
)
from tools.chart import CHART
from tools.documents import ROOT
from tools.tables import metric_rows

METRICS = {name.strip("`") for name, *_ in metric_rows()}
DOCKERFILE = (ROOT / "docker" / "Dockerfile").read_text("utf-8")
LIBRARIES = {"HF_HUB_OFFLINE", "HF_TOKEN"}  # read by huggingface_hub; see docs/models.md
APP = "".join(path.read_text("utf-8") for path in sorted((ROOT / "service" / "rest").glob("*.py")))


def all_containers(name: str) -> list[dict]:
    """Return the containers of a case with those that run before."""
    pod = pod_of(golden(name))
    return pod.get("initContainers", []) + pod["containers"]


@pytest.mark.parametrize("name", NAMES)
def test_the_ports_are_those_of_the_service_and_of_the_image(name):
    ports = {port["name"]: port["containerPort"] for port in service_container(golden(name))["ports"]}
    assert ports == {"http": Settings().http_port, "grpc": Settings().grpc_port}
    assert f"EXPOSE {ports['http']} {ports['grpc']}" in DOCKERFILE
    for service in (each for each in golden(name) if each["kind"] == "Service"):
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= set(ports)


@pytest.mark.parametrize("name", NAMES)
def test_the_probes_ask_paths_and_services_that_exist(name):
    container = service_container(golden(name))
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        found = container[probe]
        if "httpGet" in found:
            assert f'"{found["httpGet"]["path"]}"' in APP
        elif "grpc" in found:
            service = twins_pb2.DESCRIPTOR.services_by_name["Twins"]
            assert isinstance(service, ServiceDescriptor)
            assert found["grpc"] == {"port": Settings().grpc_port, "service": service.full_name}
        elif "exec" in found:
            program, *_, script = found["exec"]["command"]
            assert program == "python"
            assert script == "/opt/twins/bin/ready.py"
            assert "COPY docker/ready.py docker/sbom.py /opt/twins/bin/" in DOCKERFILE
        else:
            assert found["tcpSocket"] == {"port": "http"}


@pytest.mark.parametrize("name", NAMES)
def test_the_variables_are_settings_or_read_by_a_library(name):
    settings = {f"{PREFIX}{setting.upper()}" for setting in Settings.model_fields}
    named = {each["name"] for container in all_containers(name) for each in container.get("env", ())}
    assert named <= settings | LIBRARIES


@pytest.mark.parametrize("name", NAMES)
def test_the_user_and_the_folders_are_those_of_the_image(name):
    pod = pod_of(golden(name))
    assert f"USER {pod['securityContext']['runAsUser']}\n" in DOCKERFILE
    assert 'ENTRYPOINT ["twins"]' in DOCKERFILE
    assert "HF_HOME=/weights" in DOCKERFILE
    for container in all_containers(name):
        writable = {each["mountPath"] for each in container["volumeMounts"] if not each.get("readOnly")}
        assert writable == {"/tmp", "/weights"}
        assert {each["name"] for each in container["volumeMounts"]} <= {each["name"] for each in pod["volumes"]}


@pytest.mark.parametrize("name", NAMES)
def test_files_that_settings_name_are_below_a_volume(name):
    container = service_container(golden(name))
    folders = tuple(each["mountPath"] for each in container["volumeMounts"])
    assert all(value.startswith(folders) for value in variables(container).values() if value.startswith("/"))


def queries() -> dict[str, str]:
    """Return the queries of the autoscalers by what they are for."""
    triggers = of_kind("ScaledObject", golden("keda.yaml"))["spec"]["triggers"]
    rules = read(ADAPTER)["rules"]["custom"]
    return {
        **{f"KEDA: {each['name']}": each["metadata"]["query"] for each in triggers},
        **{f"adapter: {each['name']['as']}": f"{each['seriesQuery']} {each['metricsQuery']}" for each in rules},
    }


@pytest.mark.parametrize("name", queries())
def test_the_queries_name_metrics_that_the_service_exports(name):
    found = set(re.findall(r"\btwins_\w+", queries()[name]))
    assert found
    assert {re.sub("_(sum|count)$", "", metric) for metric in found} <= METRICS
    assert set(re.findall(r'stage="(\w+)"', queries()[name])) <= {"queue"}


def test_the_autoscaler_asks_for_the_metrics_that_the_adapter_offers():
    asked = of_kind("HorizontalPodAutoscaler", golden("autoscaled.yaml"))["spec"]["metrics"]
    offered = {each["name"]["as"] for each in read(ADAPTER)["rules"]["custom"]}
    assert {each["pods"]["metric"]["name"] for each in asked} == offered


def test_the_job_is_the_one_of_the_rules_and_of_the_dashboard():
    (endpoint,) = of_kind("ServiceMonitor", golden("autoscaled.yaml"))["spec"]["endpoints"]
    (scraped,) = read(ROOT / "docker" / "prometheus" / "prometheus.yml")["scrape_configs"]
    assert endpoint["relabelings"] == [{"targetLabel": "job", "replacement": scraped["job_name"]}]
    assert f'"{endpoint["path"]}"' in APP


def test_one_service_is_scraped_and_it_has_the_port():
    objects = golden("autoscaled.yaml")
    wanted = of_kind("ServiceMonitor", objects)["spec"]
    services = [each for each in objects if each["kind"] == "Service"]
    labels = wanted["selector"]["matchLabels"].items()
    (found,) = [each for each in services if labels <= each["metadata"]["labels"].items()]
    assert wanted["endpoints"][0]["port"] in {port["name"] for port in found["spec"]["ports"]}


@pytest.mark.parametrize("name", NAMES)
def test_every_selector_finds_the_pods_and_no_test_pod(name):
    objects = golden(name)
    labels = of_kind("Deployment", objects)["spec"]["template"]["metadata"]["labels"].items()
    (test,) = golden("hook.yaml")
    specs = [each["spec"] for each in objects if each["kind"] in ("Service", "PodDisruptionBudget", "NetworkPolicy")]
    selectors = [spec.get("podSelector", spec.get("selector")) for spec in specs]
    for selector in (each.get("matchLabels", each).items() for each in selectors):
        assert selector <= labels
        assert not selector <= test["metadata"]["labels"].items()


def test_the_chart_has_the_version_of_the_image():
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text("utf-8"))
    image = re.search(r'version="([\d.]+)"', DOCKERFILE)
    assert image
    assert chart["appVersion"] == image[1]


@pytest.mark.parametrize("path", KSERVE, ids=lambda path: path.name)
def test_the_pods_of_kserve_get_no_variables_of_services(path):
    for found in yaml.safe_load_all(path.read_text("utf-8")):
        if found["kind"] == "InferenceService":
            predictor = found["spec"]["predictor"]
            assert predictor["enableServiceLinks"] is False
            assert predictor["terminationGracePeriodSeconds"] == 57
