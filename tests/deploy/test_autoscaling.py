"""The queries of the autoscalers return a number for a running service, before its first image and under load."""

import asyncio
import re

import pytest

from tests.deploy.manifests import ADAPTER, golden, of_kind, read
from tests.load import load, post_until
from tests.prometheus import Prometheus, needs_prometheus
from tests.server import Server


def asked() -> dict[str, str]:
    """Return the queries as one Prometheus answers them that has no labels of Kubernetes: an instance is a pod."""
    triggers = of_kind("ScaledObject", golden("keda.yaml"))["spec"]["triggers"]
    keda = {each["name"]: each["metadata"]["query"] for each in triggers}
    rules = read(ADAPTER)["rules"]["custom"]
    adapter = {each["name"]["as"]: each["metricsQuery"] for each in rules}
    filled = {
        name: text.replace("<<.LabelMatchers>>", 'job="twins"').replace("<<.GroupBy>>", "instance")
        for name, text in adapter.items()
    }
    local = {
        name: re.sub(r'namespace="\w+",service="\w+"', 'job="twins"', text).replace("(pod)", "(instance)")
        for name, text in keda.items()
    }
    return {name: text.replace("[2m]", "[10s]").replace("[1m]", "[10s]") for name, text in {**filled, **local}.items()}


def value(prometheus: Prometheus, query: str) -> float:
    """Return the value of a query that has one series."""
    (found,) = prometheus.wait_for(query)
    return float(found["value"][1])


@needs_prometheus
async def test_the_queries_have_a_value_before_the_first_image_and_rise_under_load(tmp_path, cat):
    with (
        Server("--model", "twins_svt_nano") as server,
        Prometheus(tmp_path, server.http.removeprefix("http://")) as seen,
    ):
        for query in asked().values():
            assert await asyncio.to_thread(value, seen, query) == 0
        done = asyncio.Event()
        running = asyncio.create_task(load(24, post_until, done.is_set, server.http, cat))
        try:
            for query in asked().values():
                await asyncio.to_thread(seen.wait_for, f"({query}) > 0")
        finally:
            done.set()
            await running


def test_both_autoscalers_ask_for_the_same():
    assert len(asked()) == 4


@pytest.mark.parametrize("name", asked())
def test_no_label_of_kubernetes_is_left_in_the_tried_queries(name):
    assert not re.search(r"namespace|service=|pod|<<", asked()[name])
