"""The chart, rendered by the real Helm: its manifests are the expected ones, and wrong values are refused."""

import json
import subprocess

import pytest

from service.settings import Settings
from tests.deploy.manifests import NAMES, PYTHON, golden, need_helm, of_kind, pod_of, service_container, variables
from tools import chart
from tools.chart import CASES, CHART, RENDERED, SCHEMA, ChartError, helm, manifests, render
from tools.documents import ROOT

NEEDS_SCHEMAS = sorted(RENDERED.glob("*.yaml")) + sorted((chart.DEPLOY / "kserve").glob("*.yaml"))


@pytest.fixture(autouse=True)
def _helm():
    need_helm()


def validate(version: str, *files: object) -> str:
    """Return what is wrong with files of manifests."""
    script = ROOT / "tests" / "deploy" / "validate.py"
    ran = subprocess.run([PYTHON, script, version, *map(str, files)], check=False, capture_output=True, text=True)
    assert not ran.stderr, ran.stderr
    return ran.stdout


@pytest.mark.parametrize("name", NAMES)
def test_helm_finds_nothing_wrong(name):
    assert "0 chart(s) failed" in helm("lint", "--strict", CHART, "--values", CASES / name)


def test_the_chart_renders_the_manifests_of_the_repository():
    texts = chart.rendered()
    assert {path.name for path in RENDERED.glob("*.yaml")} == set(texts)
    for name, text in texts.items():
        assert (RENDERED / name).read_text("utf-8") == text, f"run `make chart` and look at the changes of {name}"


@pytest.mark.parametrize("version", ["1.27", "1.37"])
def test_the_manifests_match_the_schemas_of_the_api(version):
    assert validate(version, *NEEDS_SCHEMAS) == ""


WRONG = {
    "unknown.yaml": ("default.yaml", "progressDeadlineSeconds", "progressDeadline"),
    "number.yaml": ("default.yaml", "failureThreshold: 180", "failureThreshold: often"),
    "quantity.yaml": ("autoscaled.yaml", "averageValue: 50m", "averageValue: [50m]"),
    "trigger.yaml": ("keda.yaml", "metricType:", "metric:"),
    "endpoint.yaml": ("keda.yaml", "interval: 10s", "every: 10s"),
    "runtime.yaml": ("../../../deploy/kserve/servingruntime.yaml", "supportedModelFormats", "modelFormats"),
    "container.yaml": ("../../../deploy/kserve/servingruntime.yaml", "allowPrivilegeEscalation", "allowEscalation"),
    "service.yaml": ("../../../deploy/kserve/inferenceservice.yaml", "minReplicas: 2", "minReplicas: two"),
}
"""Files with a mistake each: the file that is changed, and what is replaced in it by what."""


def test_the_schemas_notice_every_wrong_field(tmp_path):
    for name, (source, right, wrong) in WRONG.items():
        text = (RENDERED / source).read_text("utf-8")
        assert right in text
        (tmp_path / name).write_text(text.replace(right, wrong))
    found = validate("1.30", *(tmp_path / name for name in WRONG))
    assert {line.partition(":")[0] for line in found.splitlines() if ".yaml:" in line} == set(WRONG)


def test_the_schema_has_the_settings_of_the_service():
    assert SCHEMA.read_text("utf-8") == chart.schema_text(), "run `make chart`"
    assert set(chart.setting_schema()) | chart.OWN_VALUES == set(Settings.model_fields)


def test_every_value_has_a_type_in_the_schema():
    values = json.loads(helm("show", "values", CHART, "--jsonpath", "{$}"))
    assert set(json.loads(SCHEMA.read_text("utf-8"))["properties"]) - {"global"} == set(values)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"replica": 3}, "replica"),
        ({"settings": {"max_bach": 4}}, "max_bach"),
        ({"settings": {"max_batch": "four"}}, "max_batch"),
        ({"settings": {"max_batch": 5000}}, "max_batch"),
        ({"settings": {"backend": "tensorflow"}}, "backend"),
        ({"settings": {"http_port": 80}}, "http_port"),
        ({"settings": {"api_keys": ["secret"]}}, "api_keys"),
        ({"weights.source": "web"}, "source"),
        ({"autoscaling.kind": "vpa"}, "kind"),
        ({"drainDelaySeconds": -1}, "drainDelaySeconds"),
        ({"resources": {"limits": {"cpu": "1", "memory": None}}}, "memory"),
        ({"image.digest": "latest"}, "digest"),
        ({"probes.readiness": "grpc", "tls.existingSecret": "twins-tls"}, "do not speak TLS"),
        ({"tls.clientCa": "ca.crt"}, "tls.existingSecret"),
        ({"tls": {"existingSecret": "t", "clientCa": "ca.crt"}, "serviceMonitor.enabled": True}, "tlsConfig"),
    ],
    ids=lambda part: part if isinstance(part, str) else None,
)
def test_wrong_values_are_refused_with_their_name(values, reason):
    with pytest.raises(ChartError, match=reason):
        render(chosen=values)


@pytest.mark.parametrize(("delay", "grace", "seconds"), [(0, 0, 12), (15, 30, 57), (2.5, 45, 60), (60, 300, 372)])
def test_a_pod_may_take_its_drain_delay_its_grace_and_twelve_seconds(delay, grace, seconds):
    objects = manifests(render(chosen={"drainDelaySeconds": delay, "graceSeconds": grace}))
    given = variables(service_container(objects))
    assert pod_of(objects)["terminationGracePeriodSeconds"] == seconds
    assert (float(given["TWINS_DRAIN_DELAY_S"]), float(given["TWINS_GRACE_S"])) == (delay, grace)


@pytest.mark.parametrize(("seconds", "probes"), [(1, 1), (5, 1), (6, 2), (900, 180)])
def test_a_pod_may_download_for_as_long_as_the_values_say(seconds, probes):
    deployment = of_kind("Deployment", manifests(render(chosen={"probes.startSeconds": seconds})))
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert container["startupProbe"]["failureThreshold"] == probes
    assert deployment["spec"]["progressDeadlineSeconds"] > seconds + Settings().start_timeout_s


@pytest.mark.parametrize("name", NAMES)
def test_the_service_accepts_the_variables_of_its_container(name):
    found = variables(service_container(golden(name)))
    given = {key.removeprefix("TWINS_").lower(): value for key, value in found.items() if key.startswith("TWINS_")}
    assert given
    Settings(**{key: value.split() if key == "preprocess" else value for key, value in given.items()})


@pytest.mark.parametrize(
    ("kind", "wanted"),
    [("none", set()), ("hpa", {"HorizontalPodAutoscaler"}), ("keda", {"ScaledObject"})],
)
def test_one_autoscaler_at_a_time_chooses_the_number_of_pods(kind, wanted):
    objects = manifests(render(chosen={"autoscaling.kind": kind}))
    assert {each["kind"] for each in objects} & {"HorizontalPodAutoscaler", "ScaledObject"} == wanted
    assert ("replicas" in of_kind("Deployment", objects)["spec"]) == (not wanted)


def test_a_long_release_name_leaves_room_for_the_names_of_all_objects():
    names = [each["metadata"]["name"] for each in manifests(render(release="a" * 53))]
    assert max(map(len, names)) <= 63
    assert any(name.endswith("-headless") for name in names)


def test_the_packed_chart_has_the_rules_of_prometheus(tmp_path):
    helm("package", CHART, "--destination", tmp_path)
    (packed,) = tmp_path.glob("*.tgz")
    text = helm("template", "twins", packed, "--set", "prometheusRule.enabled=true")
    rules = of_kind("PrometheusRule", manifests(text))["spec"]["groups"]
    assert rules == of_kind("PrometheusRule", golden("autoscaled.yaml"))["spec"]["groups"]
    assert packed.stat().st_size < 100_000
