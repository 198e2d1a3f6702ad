"""Settings: their sources, and the messages for wrong names and values."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.environment import PREFIX, child_environment
from service.processes.child import ChildConfig, decode, settings_with_keys
from service.setting_sources import flag_name, load
from service.settings import Settings, SettingsError
from twins.images.decode import Limits
from twins.zoo.models import ModelReference

SECRET = "correct-horse"


@pytest.fixture
def config(tmp_path):
    """Return a function that writes a settings file and returns its name."""

    def write(text: str) -> str:
        path = tmp_path / "twins.toml"
        path.write_text(text)
        return str(path)

    return write


def error_message(flags=None, environ=None) -> str:
    """Return the error message for these settings."""
    with pytest.raises(SettingsError) as caught:
        load(flags or {}, environ=environ or {})
    return str(caught.value)


def test_without_any_source_the_defaults_apply():
    assert load({}, environ={}) == Settings()


def test_the_file_takes_precedence_over_the_default(config):
    assert load({"config": config("max_queue = 7")}, environ={}).max_queue == 7


def test_a_variable_takes_precedence_over_the_file(config):
    assert load({"config": config("max_queue = 7")}, environ={"TWINS_MAX_QUEUE": "8"}).max_queue == 8


def test_a_flag_takes_precedence_over_a_variable(config):
    flags = {"config": config("max_queue = 7"), "max_queue": "9"}
    assert load(flags, environ={"TWINS_MAX_QUEUE": "8"}).max_queue == 9


def test_a_variable_can_name_the_file(config):
    assert load({}, environ={"TWINS_CONFIG": config("max_queue = 7")}).max_queue == 7


def test_the_flag_for_the_file_takes_precedence_over_the_variable(config, tmp_path):
    environ = {"TWINS_CONFIG": str(tmp_path / "absent.toml")}
    assert load({"config": config("max_queue = 7")}, environ=environ).max_queue == 7


def test_variables_of_other_programs_are_ignored():
    assert load({}, environ={"HOME": "/root", "MAX_QUEUE": "8"}) == Settings()


def test_values_in_the_file_have_toml_types(config):
    text = 'models = ["twins_svt_nano", "own=x.pth"]\nmax_queue = 3\nmax_delay_ms = 2'
    found = load({"config": config(text)}, environ={})
    assert (found.models, found.max_queue, found.max_delay_ms) == (("twins_svt_nano", "own=x.pth"), 3, 2.0)


def test_a_list_in_a_variable_is_separated_by_commas():
    assert load({}, environ={"TWINS_DEVICE": "cuda:0, cuda:1,"}).device == ("cuda:0", "cuda:1")


def test_preprocessing_in_a_variable_is_separated_by_spaces():
    text = "flowers:size=96,crop=0.5 city:size=512"
    assert load({}, environ={"TWINS_PREPROCESS": text}).preprocess == ("flowers:size=96,crop=0.5", "city:size=512")


def test_a_list_of_flags_is_not_split():
    assert load({"models": ("a=x,y.pth", "b=z.pth")}, environ={}).models == ("a=x,y.pth", "b=z.pth")


# ---------------------------------------------------------------------- wrong names


def test_a_misspelt_flag_suggests_the_right_one():
    assert error_message({"max_qeue": "1"}) == "--max-qeue is not a setting; did you mean --max-queue?"


def test_a_misspelt_variable_suggests_the_right_one():
    message = error_message(environ={"TWINS_MAX_QEUE": "1"})
    assert message == "the variable TWINS_MAX_QEUE is not a setting; did you mean the variable TWINS_MAX_QUEUE?"


def test_a_misspelt_key_in_the_file_suggests_the_right_one_and_names_the_file(config):
    path = config("max_qeue = 1")
    assert error_message({"config": path}) == f"max_qeue in {path} is not a setting; did you mean max_queue in {path}?"


def test_a_flag_in_the_singular_is_suggested_in_the_singular():
    assert error_message({"modles": "x"}) == "--modles is not a setting; did you mean --model?"


def test_an_unknown_name_without_a_similar_one_is_rejected_without_a_suggestion():
    assert error_message(environ={"TWINS_ZZZZ": "1"}) == "the variable TWINS_ZZZZ is not a setting"


@given(st.sampled_from(list(Settings.model_fields)), st.integers(0, 40))
def test_a_name_with_a_missing_letter_always_gets_a_suggestion(name, place):
    place %= len(name)
    misspelt = name[:place] + name[place + 1 :]
    if misspelt not in Settings.model_fields:
        assert "did you mean" in error_message(environ={PREFIX + misspelt.upper(): "1"})


# ---------------------------------------------------------------------- wrong values


def test_a_wrong_value_of_a_flag_names_the_flag():
    assert error_message({"max_queue": "many"}).startswith("--max-queue: ")


def test_a_wrong_value_of_a_variable_names_the_variable():
    assert error_message(environ={"TWINS_HTTP_PORT": "70000"}).startswith("the variable TWINS_HTTP_PORT: ")


def test_a_wrong_value_in_the_file_names_the_file(config):
    path = config('log_level = "loud"')
    assert error_message({"config": path}).startswith(f"log_level in {path}: ")


def test_a_wrong_value_is_shown():
    assert "'many'" in error_message({"max_queue": "many"})


def test_all_wrong_values_are_reported_at_once():
    message = error_message({"max_queue": "many"}, {"TWINS_FRONTENDS": "-1"})
    assert {line.partition(":")[0] for line in message.splitlines()} == {"--max-queue", "the variable TWINS_FRONTENDS"}


def test_a_value_that_another_source_overrides_is_not_checked():
    assert load({"max_queue": "9"}, environ={"TWINS_MAX_QUEUE": "many"}).max_queue == 9


def test_a_file_that_is_not_there_is_named(tmp_path):
    assert str(tmp_path / "absent.toml") in error_message({"config": str(tmp_path / "absent.toml")})


def test_a_file_that_is_no_toml_is_named(config):
    path = config("max_queue: 7")
    assert error_message({"config": path}).startswith(f"{path}: cannot read the settings")


def test_a_file_that_is_no_text_is_named(tmp_path):
    (tmp_path / "twins.toml").write_bytes(b"\xff\xfe\x00")
    assert "cannot read the settings" in error_message({"config": str(tmp_path / "twins.toml")})


@pytest.mark.parametrize("name", [n for n, f in Settings.model_fields.items() if f.annotation in (int, float)])
def test_no_number_may_be_negative(name):
    assert flag_name(name) in error_message({name: "-1"})


@pytest.mark.parametrize("name", [n for n, f in Settings.model_fields.items() if f.annotation is float])
@pytest.mark.parametrize("text", ["nan", "inf"])
def test_times_are_finite(name, text):
    assert flag_name(name) in error_message({name: text})


# ---------------------------------------------------------------------- keys


def test_keys_in_a_variable_are_separated_by_commas():
    keys = load({}, environ={"TWINS_API_KEYS": f"{SECRET},other"}).api_keys
    assert [key.get_secret_value() for key in keys] == [SECRET, "other"]


def test_keys_are_never_shown():
    settings = load({"api_keys": (SECRET,)}, environ={})
    assert SECRET not in f"{settings} {settings!r} {settings.model_dump_json()}"


def test_keys_are_not_in_their_own_error_message(config):
    assert SECRET not in error_message({"config": config(f'api_keys = [1, "{SECRET}"]')})


def test_keys_are_not_in_the_error_message_of_another_setting():
    assert SECRET not in error_message({"max_queue": "many"}, {"TWINS_API_KEYS": SECRET})


def test_the_only_key_in_a_file_may_not_be_a_bare_number(config):
    assert "api_keys" in error_message({"config": config("api_keys = 5")})


def test_children_get_the_same_settings():
    settings = load({"api_keys": (SECRET,), "models": ("own=x.pth",)}, environ={})
    models = (ModelReference("own", Path("x.pth"), Path("/x.pth"), "00ff"),)
    config = decode(ChildConfig("worker-0.0", "folder", 1, 0, settings_with_keys(settings), models).encode())
    assert Settings.model_validate(config.settings) == settings
    assert config.models == models


def test_settings_cannot_be_changed():
    with pytest.raises(ValueError):
        Settings().max_queue = 1


def test_the_image_limits_are_the_settings():
    settings = Settings(max_image_bytes=1, max_pixels=2, max_side=3, max_frames=4)
    assert settings.image_limits == Limits(max_bytes=1, max_pixels=2, max_side=3, max_frames=4)


@pytest.mark.parametrize("name", Settings.model_fields)
def test_every_setting_is_described(name):
    assert Settings.model_fields[name].description


def test_an_empty_key_is_rejected_and_does_not_mean_that_there_are_none():
    assert "TWINS_API_KEYS" in error_message(environ={"TWINS_API_KEYS": ""})
    assert "--api-key" in error_message({"api_keys": ("",)})


@pytest.mark.parametrize("keys", ["one:same,two:same", "same,two:same", "same,same"])
def test_one_key_under_two_names_is_rejected(keys):
    message = error_message(environ={"TWINS_API_KEYS": keys})
    assert "one key is given twice, perhaps under two names" in message
    assert "same" not in message


def test_a_key_with_an_empty_name_is_rejected():
    assert "one key has an empty name" in error_message({"api_keys": (":key",)})


@pytest.mark.parametrize("device", ["banana", "cuda:", "mps", ""])
def test_an_unknown_device_is_rejected(device):
    assert "--device" in error_message({"device": device})


def test_variables_that_kubernetes_injects_are_not_settings():
    injected = {
        "TWINS_SERVICE_HOST": "10.0.0.1",
        "TWINS_SERVICE_PORT_HTTP": "8000",
        "TWINS_PORT": "tcp://10.0.0.1:8000",
        "TWINS_PORT_8000_TCP_ADDR": "10.0.0.1",
    }
    assert load({}, environ=injected) == Settings()
    assert "did you mean" in error_message(environ={"TWINS_PORT": "8000"})


def test_settings_that_contradict_each_other_are_refused_without_showing_a_key():
    message = error_message({"max_held_bytes": "2000", "api_keys": (SECRET,)})
    assert "--max-held-bytes" in message
    assert SECRET not in message


def test_a_name_without_a_key_is_refused():
    assert "NAME:KEY" in error_message(environ={"TWINS_API_KEYS": "team:"})


def test_trusted_proxies_are_networks():
    found = load({}, environ={"TWINS_TRUSTED_PROXIES": "10.0.0.0/8, 192.0.2.1"}).trusted_proxies
    assert found == ("10.0.0.0/8", "192.0.2.1/32")
    assert "--trusted-proxies" in error_message({"trusted_proxies": "proxy.example.org"})


WRONG = {
    "--device gpu": ({"device": "gpu"}, "--device: must be auto, cpu, cuda (the first GPU) or cuda:N"),
    "a port that is no number": ({"http_port": "x"}, "--http-port: must be a whole number from 0 to 65535, not 'x'"),
    "a port out of range": ({"grpc_port": "70000"}, "--grpc-port: must be a whole number from 0 to 65535, not '70000'"),
    "a fraction": ({"max_queue": "1.5"}, "--max-queue: must be a whole number of at least 1, not '1.5'"),
    "a time that is none": ({"grace_s": "soon"}, "--grace-s: must be a number of at least 0, not 'soon'"),
    "no time": ({"request_timeout_s": "0"}, "--request-timeout-s: must be a number above 0, not '0'"),
    "a level": ({"log_level": "loud"}, "--log-level: must be one of debug, info, warning, error, not 'loud'"),
    "a precision": (
        {"precision": "half"},
        "--precision: must be one of auto, float32, bfloat16, float16, int8, not 'half'",
    ),
    "a backend": (
        {"backend": "jax"},
        "--backend: must be one of auto, torch, compile, openvino, onnx, tensorrt, not 'jax'",
    ),
    "no device": ({"device": ","}, "--device: must name a device: auto, cpu, cuda or cuda:N, not ','"),
    "a folder that is a number": ({"calibration": 5}, "--calibration: must be the path of a file or folder, not 5"),
    "a list that is a number": ({"models": 5}, "--model: must be a list of strings, not 5"),
    "a number for a name": ({"host": 5}, "--host: must be a string, not 5"),
    "a network": ({"trusted_proxies": "proxy"}, "--trusted-proxies: must be an IP address or a network, such as"),
    "one port twice": (
        {"http_port": "8001"},
        "--http-port and --grpc-port are both 8001; choose two different ports",
    ),
    "a certificate without its key": (
        {"tls_certificate": "a.crt"},
        "--tls-certificate and --tls-key belong together; give both or none",
    ),
    "an authority of clients without TLS": (
        {"tls_client_ca": "ca.pem"},
        "--tls-client-ca needs TLS; give --tls-certificate and --tls-key as well",
    ),
    "less memory than a request": (
        {"max_held_bytes": "2000"},
        "--max-held-bytes is less than --max-body-bytes, so the largest request would never be accepted; "
        "raise the first or lower the second",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_value_is_explained_with_what_is_allowed(case):
    flags, message = WRONG[case]
    assert error_message(flags).startswith(message)


@pytest.mark.parametrize("name", Settings.model_fields)
@pytest.mark.parametrize("value", ["?", "-1", None, [None], {}])
def test_no_message_is_the_validators_own(name, value):
    try:
        load({name: value}, environ={})
    except SettingsError as error:
        assert not re.search("[Ii]nput should|Value error|valid|unable to", str(error))  # noqa: PT017 - some are right


def test_settings_that_contradict_each_other_are_called_as_they_were_written(config):
    path = config("grpc_port = 8000")
    assert error_message({"config": path}, {"TWINS_HTTP_PORT": "8000"}) == (
        f"the variable TWINS_HTTP_PORT and grpc_port in {path} are both 8000; choose two different ports"
    )


def test_a_wrong_value_is_reported_once():
    assert len(error_message({"device": "gpu"}).splitlines()) == 1
    assert [line.partition(":")[0] for line in error_message({"grace_s": "x", "device": "gpu,tpu"}).splitlines()] == [
        "--device",
        "--grace-s",
    ]


def test_threads_of_child_processes_sleep_while_they_wait_unless_the_environment_says_otherwise(monkeypatch):
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    assert child_environment()["OMP_WAIT_POLICY"] == "PASSIVE"
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    assert child_environment()["OMP_WAIT_POLICY"] == "ACTIVE"
