"""The dashboard: made from its panels, as Grafana takes it, and every query gives data of a service under load."""

import asyncio
import json
import os
import re
import signal
import time
from collections.abc import Callable
from functools import partial

import httpx
import pytest
import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard

from tests import nvml
from tests.load import call_until, load, post_until
from tests.prometheus import Prometheus, needs_prometheus, rules
from tests.server import Server, wait_until
from tools import dashboard
from tools.documents import ROOT
from tools.panels import ROWS
from twins.zoo.models import DEFAULT_MODELS

GRAFANA = ROOT / "docker" / "grafana"
DRAWN = json.loads(dashboard.DASHBOARD.read_text("utf-8"))
PANELS = [panel for row in ROWS.values() for panel in row]
QUERIES = {f"{panel.title}: {legend}": query for panel in PANELS for legend, query in panel.queries.items()}
CAT = (ROOT / "examples" / "cat.jpg").read_bytes()
ON_CUDA_ALONE = "twins_device_memory_bytes"  # as PyTorch tells it


def test_the_dashboard_is_what_its_panels_say():
    assert dashboard.DASHBOARD.read_text("utf-8") == dashboard.dashboard_text(), "run `python -m tools.dashboard`"


def test_grafanas_own_model_reads_the_dashboard():
    read = json.loads(json.dumps(Dashboard.from_json(DRAWN), cls=JSONEncoder))
    assert [panel["title"] for panel in read["panels"]] == [panel["title"] for panel in DRAWN["panels"]]
    assert [variable["name"] for variable in read["templating"]["list"]] == ["model"]


def test_no_two_panels_share_an_id_or_a_place():
    assert len({panel["id"] for panel in DRAWN["panels"]}) == len(DRAWN["panels"])
    taken = [cell for panel in DRAWN["panels"] for cell in cells(**panel["gridPos"])]
    assert len(set(taken)) == len(taken)


def cells(x: int, y: int, w: int, h: int) -> list[tuple[int, int]]:
    """The places of the grid that a panel takes."""
    assert x + w <= dashboard.WIDTH
    return [(column, line) for column in range(x, x + w) for line in range(y, y + h)]


def test_what_is_provisioned_fits_together():
    (source,) = yaml.safe_load((GRAFANA / "provisioning/datasources/prometheus.yml").read_text())["datasources"]
    assert (source["uid"], source["type"]) == (dashboard.SOURCE["uid"], dashboard.SOURCE["type"])
    assert source["url"] == "http://prometheus:9090"
    (provider,) = yaml.safe_load((GRAFANA / "provisioning/dashboards/twins.yml").read_text())["providers"]
    assert provider["options"]["path"] == "/etc/grafana/dashboards"


def test_panels_send_the_reader_to_paragraphs_that_exist():
    alerts = {rule["alert"] for rule in rules() if "alert" in rule}
    named = {name for panel in PANELS for name in re.findall(r"Runbook: (\w+)", panel.description)}
    assert named
    assert named <= alerts


def test_every_alert_is_in_the_runbook_beside_the_graphs():
    (shown,) = [panel for panel in DRAWN["panels"] if panel["title"] == "Runbook"]
    assert all(f"### {rule['alert']}" in shown["options"]["content"] for rule in rules() if "alert" in rule)
    assert DRAWN["links"][0]["url"] == f"/d/{DRAWN['uid']}?viewPanel={shown['id']}"


# ---------------------------------------------------------------------- a service under load


@pytest.fixture(scope="module")
def watched(tmp_path_factory):
    """Prometheus, having watched a service with GPUs: under load, with bad requests, and with a worker that died."""
    folder = tmp_path_factory.mktemp("watched")
    with (
        Server("--frontends", "2", environ=nvml.build(folder)) as server,
        Prometheus(folder, server.http.removeprefix("http://")) as prometheus,
    ):
        ask(server, CAT, prometheus)
        ask(server, CAT, prometheus, meanwhile=partial(kill_until_images_are_sent_again, server))
        yield prometheus


def looks(prometheus: Prometheus) -> float:
    """How often it has scraped the service."""
    return sum(float(series["value"][1]) for series in prometheus.query("count_over_time(up[10m])"))


def kill_until_images_are_sent_again(server: Server) -> None:
    """Kills the worker under load; again only if it happened to hold nothing."""
    while not server.metric("twins_retries_total"):
        deaths = len(server.events("started", role="worker-0"))
        os.kill(server.pid("worker-0"), signal.SIGKILL)
        server.wait_for("started", role="worker-0", count=deaths + 1)
        wait_until(server.worker_ready, what="the next worker")


def ask(server: Server, image: bytes, prometheus: Prometheus, meanwhile: Callable[[], None] = lambda: None) -> None:
    """Asks over both protocols, rightly and wrongly, until Prometheus has looked a few times."""
    enough = looks(prometheus) + 6

    def stop() -> bool:
        httpx.post(f"{server.http}/classify", content=b"no image")
        httpx.post(f"{server.http}/segment", content=image, timeout=60)
        time.sleep(0.05)
        return looks(prometheus) >= enough

    async def both() -> None:
        done = asyncio.Event()
        clients = [
            load(4, post_until, done.is_set, server.http, image),
            load(4, call_until, done.is_set, server.grpc, image),
        ]
        asking = asyncio.gather(*clients)
        await asyncio.to_thread(meanwhile)
        await asyncio.to_thread(wait_until, stop, what="Prometheus' looks")
        done.set()
        await asking

    asyncio.run(both())


@needs_prometheus
@nvml.needs_compiler
@pytest.mark.parametrize("name", [name for name, query in QUERIES.items() if query != ON_CUDA_ALONE])
def test_a_query_gives_data(watched, name):
    query = QUERIES[name].replace("$__rate_interval", "5m").replace("$model", f"({'|'.join(DEFAULT_MODELS.values())})")
    found = watched.wait_for(query)
    assert any(series["value"][1] != "NaN" for series in found)


@needs_prometheus
@nvml.needs_compiler
def test_every_record_has_data(watched):
    for name in {rule["record"] for rule in rules() if "record" in rule}:
        assert watched.wait_for(name)


@needs_prometheus
@nvml.needs_compiler
def test_models_can_be_chosen_among(watched):
    (model,) = DRAWN["templating"]["list"]
    series, label = re.fullmatch(r"label_values\((\w+), (\w+)\)", model["query"]["query"]).groups()
    assert {found["metric"][label] for found in watched.query(series)} == set(DEFAULT_MODELS.values())


@needs_prometheus
@nvml.needs_compiler
def test_a_service_in_good_health_wakes_nobody(watched):
    firing = {alert["metric"]["alertname"] for alert in watched.query('ALERTS{alertstate="firing"}')}
    assert firing == set()
