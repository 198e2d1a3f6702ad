"""The dashboard: it matches its panels, Grafana can read it, and every query returns data of a service under load."""

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
ON_CUDA_ALONE = "twins_device_memory_bytes"  # only PyTorch on CUDA reports it


def test_the_dashboard_matches_its_panels():
    assert dashboard.DASHBOARD.read_text("utf-8") == dashboard.dashboard_text(), "run `python -m tools.dashboard`"


def test_grafana_can_read_the_dashboard():
    read = json.loads(json.dumps(Dashboard.from_json(DRAWN), cls=JSONEncoder))
    assert [panel["title"] for panel in read["panels"]] == [panel["title"] for panel in DRAWN["panels"]]
    assert [variable["name"] for variable in read["templating"]["list"]] == ["model"]


def test_panels_share_neither_ids_nor_positions():
    assert len({panel["id"] for panel in DRAWN["panels"]}) == len(DRAWN["panels"])
    taken = [cell for panel in DRAWN["panels"] for cell in cells(**panel["gridPos"])]
    assert len(set(taken)) == len(taken)


def cells(x: int, y: int, w: int, h: int) -> list[tuple[int, int]]:
    """Return the grid cells that a panel covers."""
    assert x + w <= dashboard.WIDTH
    return [(column, line) for column in range(x, x + w) for line in range(y, y + h)]


def test_the_provisioning_files_match():
    (source,) = yaml.safe_load((GRAFANA / "provisioning/datasources/prometheus.yml").read_text())["datasources"]
    assert (source["uid"], source["type"]) == (dashboard.SOURCE["uid"], dashboard.SOURCE["type"])
    assert source["url"] == "http://prometheus:9090"
    (provider,) = yaml.safe_load((GRAFANA / "provisioning/dashboards/twins.yml").read_text())["providers"]
    assert provider["options"]["path"] == "/etc/grafana/dashboards"


def test_panels_refer_to_existing_sections_of_the_runbook():
    alerts = {rule["alert"] for rule in rules() if "alert" in rule}
    named = {name for panel in PANELS for name in re.findall(r"Runbook: (\w+)", panel.description)}
    assert named
    assert named <= alerts


def test_every_alert_is_in_the_runbook_panel():
    (shown,) = [panel for panel in DRAWN["panels"] if panel["title"] == "Runbook"]
    assert all(f"### {rule['alert']}" in shown["options"]["content"] for rule in rules() if "alert" in rule)
    assert DRAWN["links"][0]["url"] == f"/d/{DRAWN['uid']}?viewPanel={shown['id']}"


# ---------------------------------------------------------------------- a service under load


@pytest.fixture(scope="module")
def watched(tmp_path_factory):
    """Run Prometheus on a service with GPUs, under load, with invalid requests and with a worker that dies."""
    folder = tmp_path_factory.mktemp("watched")
    with (
        Server("--frontends", "2", environ=nvml.build(folder)) as server,
        Prometheus(folder, server.http.removeprefix("http://")) as prometheus,
    ):
        send_requests(server, CAT, prometheus)
        send_requests(server, CAT, prometheus, meanwhile=partial(kill_until_images_are_sent_again, server))
        yield prometheus


def scrapes(prometheus: Prometheus) -> float:
    """Return the number of scrapes of the service."""
    return sum(float(series["value"][1]) for series in prometheus.query("count_over_time(up[10m])"))


def kill_until_images_are_sent_again(server: Server) -> None:
    """Kill the worker under load until an image is sent again."""
    while not server.metric("twins_retries_total"):
        deaths = len(server.events("started", role="worker-0"))
        os.kill(server.pid("worker-0"), signal.SIGKILL)
        server.wait_for("started", role="worker-0", count=deaths + 1)
        wait_until(server.worker_ready, what="the next worker")


def send_requests(
    server: Server, image: bytes, prometheus: Prometheus, meanwhile: Callable[[], None] = lambda: None
) -> None:
    """Send valid and invalid requests over both protocols until Prometheus has scraped a few times."""
    enough = scrapes(prometheus) + 6

    def stop() -> bool:
        httpx.post(f"{server.http}/classify", content=b"no image")
        httpx.post(f"{server.http}/segment", content=image, timeout=60)
        time.sleep(0.05)
        return scrapes(prometheus) >= enough

    async def both() -> None:
        done = asyncio.Event()
        clients = [
            load(4, post_until, done.is_set, server.http, image),
            load(4, call_until, done.is_set, server.grpc, image),
        ]
        asking = asyncio.gather(*clients)
        await asyncio.to_thread(meanwhile)
        await asyncio.to_thread(wait_until, stop, what="Prometheus' scrapes")
        done.set()
        await asking

    asyncio.run(both())


@needs_prometheus
@nvml.needs_compiler
@pytest.mark.parametrize("name", [name for name, query in QUERIES.items() if query != ON_CUDA_ALONE])
def test_a_query_returns_data(watched, name):
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
def test_a_model_can_be_selected(watched):
    (model,) = DRAWN["templating"]["list"]
    series, label = re.fullmatch(r"label_values\((\w+), (\w+)\)", model["query"]["query"]).groups()
    assert {found["metric"][label] for found in watched.query(series)} == set(DEFAULT_MODELS.values())


@needs_prometheus
@nvml.needs_compiler
def test_a_healthy_service_fires_no_alert(watched):
    firing = {alert["metric"]["alertname"] for alert in watched.query('ALERTS{alertstate="firing"}')}
    assert firing == set()
