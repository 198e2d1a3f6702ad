"""The arguments of the application on Ray."""

import pytest

from service.ray.scale import Scale, of_replica, read
from service.settings import Settings, SettingsError


def test_arguments_are_settings_and_the_scale(monkeypatch):
    monkeypatch.setenv("TWINS_MAX_QUEUE", "7")
    settings, scale = read({"max_batch": "4", "max_replicas": "3", "gpus": "0.25"})
    assert (settings.max_batch, settings.max_queue) == (4, 7)
    assert (scale.min_replicas, scale.max_replicas, scale.gpus) == (1, 3, 0.25)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"replicas": 2}, "--replicas is not a setting"),
        ({"min_replicas": 2}, "max_replicas is less than min_replicas"),
        ({"gpus": 2}, "gpus is more than 1"),
        ({"cpus": 0}, "cpus: "),
        ({"allow_model_control": True}, "allow_model_control has no effect under Ray Serve"),
        ({"model_poll_s": 5}, "model_poll_s has no effect"),
        ({"tls_certificate": "a.pem", "tls_key": "b.pem"}, "tls_certificate has no effect"),
        ({"device": "cuda:0,cuda:1"}, "several devices"),
    ],
)
def test_an_argument_that_cannot_be_followed_is_refused(arguments, expected):
    with pytest.raises(SettingsError, match=expected):
        read(arguments)


@pytest.mark.parametrize(("gpus", "device"), [(0.0, "cpu"), (0.25, "cuda")])
def test_a_replica_uses_what_ray_reserves_for_it(gpus, device):
    found = of_replica(Settings(), Scale(gpus=gpus, cpus=3))
    assert (found.device, found.threads, found.decode_threads) == ((device,), 3, 3)


def test_what_the_settings_say_of_a_replica_is_kept():
    found = of_replica(Settings(device="cpu", threads=5, decode_threads=6), Scale(gpus=0.5))
    assert (found.device, found.threads, found.decode_threads) == (("cpu",), 5, 6)
