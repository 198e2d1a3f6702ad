"""A service in eight bits."""

import httpx

from tests import calibration
from tests.server import Server


def test_the_models_and_the_log_say_that_a_model_runs_in_eight_bits(tmp_path):
    images = calibration.folder(tmp_path / "images")
    flags = ("--model", "twins_svt_nano", "--precision", "int8", "--calibration", str(images))
    with Server(*flags, environ={"HF_HOME": str(tmp_path / "cache")}) as server:
        assert httpx.get(f"{server.http}/models/twins_svt_nano").json()["precision"] == "int8"
        assert server.events("model loaded", precision="int8")
        answer = httpx.post(f"{server.http}/classify", content=calibration.CAT.read_bytes(), timeout=60)
        assert answer.json()["predictions"][0]["label"] == "cat"
