"""The content of the Compose files, as Compose reads them, without an engine."""

import json
import re

import pytest
import yaml

import twins
from service.processes import supervisor
from service.setting_sources import load
from service.settings import Settings
from tests.container.engine import compose
from tests.container.images import CPU_FILES
from tools.documents import PAGES, ROOT, commands, examples

pytestmark = pytest.mark.container

GPU_FILES = ("docker-compose.yml",)
FIXED = {"host", "http_port", "grpc_port", "log_format"}  # fixed in the image; ports are chosen when they are published


def config(files: tuple[str, ...], **environ: str) -> dict:
    """Return all services as Compose reads them."""
    return json.loads(compose("config", "--format", "json", files=files, environ=environ))["services"]


@pytest.mark.parametrize("files", [GPU_FILES, CPU_FILES], ids=["gpu", "cpu"])
def test_a_file_is_valid(files):
    compose("config", "--quiet", files=files)


def test_an_unknown_key_is_rejected(tmp_path):
    wrong = yaml.safe_load((ROOT / "docker-compose.yml").read_text("utf-8"))
    wrong["services"]["twins"]["gpu_count"] = 1
    (tmp_path / "docker-compose.yml").write_text(yaml.safe_dump(wrong))
    with pytest.raises(AssertionError, match="gpu_count"):
        compose("config", "--quiet", files=(str(tmp_path / "docker-compose.yml"),))


def test_every_gpu_is_reserved_with_the_drivers_tools_and_none_on_a_cpu_host():
    def devices(files: tuple[str, ...]) -> list[dict]:
        return config(files)["twins"]["deploy"]["resources"].get("reservations", {}).get("devices", [])

    (gpus,) = devices(GPU_FILES)
    assert (gpus["driver"], gpus["count"]) == ("nvidia", -1)  # as Compose writes `all`
    assert {"gpu", "compute", "utility"} == set(gpus["capabilities"])
    assert devices(CPU_FILES) == []


def test_a_variable_selects_the_models():
    named = "twins_svt_large,twins_svt_small_upernet_ade20k"
    environment = config(GPU_FILES, TWINS_MODELS=named)["twins"]["environment"]
    assert environment["TWINS_MODELS"] == named
    given = {name: value for name, value in environment.items() if value is not None}
    assert len(load({}, environ=given).models) == 2


def test_the_service_has_its_defaults_if_no_variable_is_set():
    environment = config(GPU_FILES)["twins"]["environment"]
    assert not {name for name, value in environment.items() if value is not None}


def test_every_setting_can_be_set_by_a_variable():
    passed = {name.removeprefix("TWINS_").lower() for name in config(GPU_FILES)["twins"]["environment"]}
    assert set(Settings.model_fields) - passed == FIXED


def test_ports_are_on_the_loopback_interface_unless_set():
    def hosts(**environ: str) -> set[str]:
        return {port["host_ip"] for service in config(GPU_FILES, **environ).values() for port in service["ports"]}

    assert hosts() == {"127.0.0.1"}
    assert hosts(BIND="0.0.0.0", BIND_WATCHING="192.0.2.1") == {"0.0.0.0", "192.0.2.1"}


def test_docker_waits_longer_than_a_drain_takes():
    settings = load({}, environ={})
    longest_s = settings.drain_delay_s + settings.grace_s + supervisor.MARGIN_S + supervisor.KILL_AFTER_S
    assert int(config(GPU_FILES)["twins"]["stop_grace_period"].removesuffix("s")) > longest_s


def test_no_container_can_gain_privileges():
    for service in config(GPU_FILES).values():
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert "privileged" not in service


def test_every_container_has_limits_and_restarts():
    for service in config(GPU_FILES).values():
        assert {"memory", "pids"} <= set(service["deploy"]["resources"]["limits"])
        assert service["restart"] == "unless-stopped"


def test_images_have_the_version_of_the_service():
    assert config(GPU_FILES)["twins"]["image"] == f"twins-serving:{twins.__version__}"
    assert config(CPU_FILES)["twins"]["image"] == f"twins-serving:{twins.__version__}-cpu"


def test_compose_builds_with_arguments_that_the_dockerfile_knows():
    known = set(re.findall(r"^ARG (\w+)", (ROOT / "docker" / "Dockerfile").read_text("utf-8"), re.MULTILINE))
    assert set(config(GPU_FILES)["twins"]["build"]["args"]) <= known


def test_the_default_base_is_that_of_the_dockerfile():
    (base,) = re.findall(r"^ARG BASE_IMAGE=(\S+)", (ROOT / "docker" / "Dockerfile").read_text("utf-8"), re.MULTILINE)
    assert config(GPU_FILES)["twins"]["build"]["args"]["BASE_IMAGE"] == base


def documented() -> list[str]:
    """Return the documents' commands that call Docker."""
    shown = [example for page in PAGES for example in examples(page, "sh", "json")]
    return list(dict.fromkeys(line for example in shown for line in commands(example.text) if "docker" in line))


@pytest.mark.parametrize("command", [line for line in documented() if "compose" in line])
def test_the_compose_commands_of_the_documents_are_valid(command):
    variables, _, rest = command.partition("docker compose")
    environ = dict(part.split("=", 1) for part in variables.split())
    files = tuple(re.findall(r"-f (\S+)", rest)) or GPU_FILES
    assert rest.split()[-1] == "up"
    environment = config(files, **environ)["twins"]["environment"]
    assert {name: environment[name] for name in environ} == environ


def test_the_build_command_of_the_documents_uses_the_dockerfile():
    (command,) = [line for line in documented() if "compose" not in line]
    tag = config(GPU_FILES)["twins"]["image"]
    assert command == f"docker build --file docker/Dockerfile --tag {tag} ."


def defaults() -> dict[str, str]:
    """Return the variables of the example and their defaults."""
    return dict(re.findall(r"^#([A-Z_]+)=(.*)$", (ROOT / ".env.example").read_text("utf-8"), re.MULTILINE))


def test_the_example_has_exactly_the_variables_of_the_compose_files():
    texts = [(ROOT / file).read_text("utf-8") for file in CPU_FILES]
    read = {name for text in texts for name in re.findall(r"\$\{(\w+)|^ +([A-Z_]+):$", text, re.MULTILINE)}
    assert set(defaults()) == {first or second for first, second in read}


def test_the_example_has_the_defaults():
    text = (ROOT / "docker-compose.yml").read_text("utf-8")
    written = dict(re.findall(r"\$\{(\w+):-([^}]*)\}", text))
    assert {name: value for name, value in defaults().items() if name in written} == written
    settings = {name: value for name, value in defaults().items() if name.startswith("TWINS_") and value}
    assert load({}, environ=settings) == load({}, environ={})
