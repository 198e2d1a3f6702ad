"""The JSON form that all benchmarks share."""

import json

from bench.result import FOLDER, Result, Target, machine

KEYS = ["name", "machine", "versions", "command", "rows", "targets"]


def test_a_result_is_written_with_the_machine_and_the_versions_that_it_depends_on(tmp_path):
    target = Target("Throughput with two threads", "at least 1 ×", "1.2 ×", met=True)
    path = Result("threads", [{"threads": 2, "req_s": 80.5}], [target]).save(tmp_path)
    found = json.loads(path.read_text("utf-8"))
    assert (path.name, list(found)) == ("threads.json", KEYS)
    assert found["rows"] == [{"threads": 2, "req_s": 80.5}]
    assert found["targets"] == [
        {"text": "Throughput with two threads", "target": "at least 1 ×", "measured": "1.2 ×", "met": True}
    ]
    assert found["versions"]["torch"]
    assert found["machine"] == machine()


def test_the_machine_says_what_figures_depend_on():
    found = machine()
    assert found["cpu"]
    assert found["cores"] >= 1
    assert found["memory_gb"] > 0


def test_every_published_result_has_the_form():
    assert not [path.name for path in FOLDER.glob("*.json") if list(json.loads(path.read_text("utf-8"))) != KEYS]
