"""Which backend runs a model: the user's, or the best one that is installed."""

import importlib.util

import pytest

from twins.errors import BackendMissing
from twins.runtime import choice
from twins.runtime.choice import LIBRARIES, PREFERRED, choose_backend, choose_device, open_backend
from twins.runtime.plan import Plan


@pytest.fixture
def without(monkeypatch):
    """Return a function after which a package cannot be found."""
    original = importlib.util.find_spec

    def hide(package: str) -> None:
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == package else original(name))

    return hide


def test_on_a_processor_openvino_is_the_default():
    assert choose_backend(Plan()) == "openvino"


def test_without_openvino_the_next_one_is_the_default(without):
    without("openvino")
    assert choose_backend(Plan()) in PREFERRED["cpu"][1:]


@pytest.mark.parametrize("device", ["cuda", "cuda:1"])
def test_on_a_gpu_pytorch_is_the_default(device):
    assert choose_backend(Plan(device)) == "torch"


def test_a_backend_that_lacks_the_precision_is_not_the_default():
    assert choose_backend(Plan(precision="bfloat16")) == "torch"


@pytest.mark.parametrize("kind", PREFERRED)
def test_the_last_backend_of_each_device_is_always_there(kind):
    assert LIBRARIES[PREFERRED[kind][-1]].packages == ("torch",)


@pytest.mark.parametrize("name", [name for name, each in LIBRARIES.items() if "cpu" in each.devices])
def test_a_named_backend_is_taken(name):
    assert open_backend(Plan(backend=name)).name == name


def test_a_named_backend_that_is_not_installed_is_an_error_that_names_the_extra(without):
    without("openvino")
    with pytest.raises(BackendMissing, match=r"pip install 'twins-serving\[openvino\]'"):
        choose_backend(Plan(backend="openvino"))


def test_tensorrt_is_taken_by_name_alone(without):
    assert not [kind for kind, names in PREFERRED.items() if "tensorrt" in names]
    without("tensorrt")
    with pytest.raises(BackendMissing, match=r"pip install 'twins-serving\[tensorrt\]'"):
        choose_backend(Plan("cuda", backend="tensorrt"))


@pytest.mark.parametrize(
    "plan", [Plan("cuda", backend="openvino"), Plan(precision="float16", backend="openvino")], ids=["device", "type"]
)
def test_a_named_backend_that_cannot_run_the_plan_is_an_error(plan):
    with pytest.raises(BackendMissing, match="use auto"):
        choose_backend(plan)


def test_without_a_gpu_driver_the_device_is_the_processor(monkeypatch):
    monkeypatch.setattr(choice, "has_gpu_driver", lambda: False)
    assert choose_device("auto") == "cpu"


def test_a_named_device_is_taken():
    assert choose_device("cuda:3") == "cuda:3"
