"""A checkpoint on the Hugging Face hub is served by its address, with a small hub on the loopback interface."""

import httpx

from tests import hub as fake
from tests.server import Server
from twins.zoo import hub
from twins.zoo.models import ModelReference


def test_a_checkpoint_on_the_hub_is_served_under_the_name_of_its_repository(tmp_path, cat):
    weights = hub.fetch(ModelReference("twins_svt_nano")).read_bytes()
    with fake.running(weights) as running:
        running.missing = {"config.json"}
        environ = {"HF_ENDPOINT": running.url, "HF_HOME": str(tmp_path)}
        with Server("--model", "hf://me/pets@v1", environ=environ) as server:
            answer = httpx.post(f"{server.http}/classify", content=cat, timeout=60).json()
            card = httpx.get(f"{server.http}/models/pets").json()
    assert (answer["model"], answer["predictions"][0]["label"]) == ("pets", "cat")
    assert (card["source"], card["sha256"]) == ("hf://me/pets@v1", running.sha256)
