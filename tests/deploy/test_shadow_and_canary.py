"""The worked example of the documents: a candidate behind a real Envoy, on copies of the requests and on a share."""

import httpx
import pytest

from tests.deploy.proxies import Instance, envoy, started
from tests.server import wait_until

CANDIDATE = ("--preprocess", "twins_svt_nano:size=96", "--preprocess", "twins_svt_nano_fpn:size=256")
MODELS = ("--model", "twins_svt_nano", "--model", "twins_svt_nano_fpn")
REQUESTS = 40


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """Start the two nano models as they are, and as candidates with smaller inputs."""
    instances = [Instance(*MODELS), Instance(*MODELS, *CANDIDATE)]
    started(instances)
    yield instances
    for instance in instances:
        instance.server.__exit__()


@pytest.fixture
def proxy(both, tmp_path):
    with envoy(tmp_path, both, file="shadow-and-canary.yaml") as running:
        yield running


def answered(instance: Instance, task: str = "classify") -> int:
    """Return how many requests of a task an instance has answered."""
    model = {"classify": "twins_svt_nano", "segment": "twins_svt_nano_fpn"}[task]
    return round(instance.server.metric("twins_requests_total", model=model, code="ok"))


def send(proxy, image: bytes, task: str = "classify", count: int = REQUESTS, **headers: str) -> list[httpx.Response]:
    """Send an image several times through the proxy."""
    with httpx.Client(base_url=proxy.http, timeout=60, headers=headers) as client:
        return [client.post(f"/{task}", content=image) for _ in range(count)]


def modify(proxy, **values: int) -> None:
    """Change the shares while Envoy runs."""
    params = {name.replace("_", "."): str(value) for name, value in values.items()}
    assert httpx.post(f"{proxy.admin}/runtime_modify", params=params).status_code == 200


@pytest.mark.parametrize("task", ["classify", "segment"])
def test_the_candidate_gets_a_copy_of_each_request_and_clients_get_the_stable_answer(proxy, both, cat, task):
    stable, candidate = both
    before = answered(stable, task), answered(candidate, task)
    answers = {answer.text for answer in send(proxy, cat, task, 10)}
    own = httpx.post(f"{stable.server.http}/{task}", content=cat, timeout=60).text
    assert answers == {own}
    assert answered(stable, task) == before[0] + 11
    wait_until(lambda: answered(candidate, task) == before[1] + 10, what="the copies")


@pytest.mark.heavy
def test_a_candidate_that_is_dead_costs_the_clients_nothing(proxy, both, cat):
    both[1].kill()
    assert {answer.status_code for answer in send(proxy, cat)} == {200}
    started(both)


def test_the_candidate_gets_its_share_while_envoy_runs(proxy, both, cat):
    modify(proxy, shadow_percent=0, canary_stable=50, canary_candidate=50)
    before = [answered(instance) for instance in both]
    assert {answer.status_code for answer in send(proxy, cat)} == {200}
    shares = [answered(instance) - count for instance, count in zip(both, before, strict=True)]
    assert sum(shares) == REQUESTS
    assert min(shares) >= REQUESTS // 8  # binomial: it is smaller once in a million runs


def test_a_canary_of_nothing_gets_nothing(proxy, both, cat):
    modify(proxy, shadow_percent=0)
    before = answered(both[1])
    send(proxy, cat)
    assert answered(both[1]) == before


def test_a_client_can_ask_for_the_candidate(proxy, both, cat):
    (answer,) = send(proxy, cat, count=1, **{"x-twins-candidate": "1"})
    assert answer.json() == httpx.post(f"{both[1].server.http}/classify", content=cat).json()
    assert answer.json() != httpx.post(f"{both[0].server.http}/classify", content=cat).json()


def test_orders_are_not_copied(proxy):
    assert httpx.post(f"{proxy.http}/v2/repository/models/twins_svt_nano/unload").status_code == 403
