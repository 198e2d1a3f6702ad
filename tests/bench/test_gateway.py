"""The service in front of workers without a network, which `bench.service.gateway` measures."""

from bench.service.gateway import measure


def test_the_gateway_answers_images_without_a_network():
    row = measure(1, seconds=0.2)
    assert row["images"] > 0
    assert row["frontend_cpu_ms"] > 0
