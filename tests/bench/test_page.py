"""The page of the benchmarks, and the modules that fill it."""

import ast
import importlib
import importlib.util
import json
from pathlib import Path

import pytest

from bench import page
from bench.__main__ import BENCHMARKS
from bench.service import request_figures
from tools.documents import ROOT

MODULES = [
    f"bench.{path.stem}" if folder == "." else f"bench.{folder}.{path.stem}"
    for folder in (".", "models", "service")
    for path in sorted((ROOT / "bench" / folder).glob("*.py"))
    if path.stem not in ("__main__", "__init__", "networks")
]
RIVALS = sorted((ROOT / "bench" / "rivals").glob("*.py"))
ENVIRONMENT_OF_THEIR_OWN = ("classifier", "timm_networks", "prepare", "bentoml_service")


def result(**changes) -> dict:
    target = {"text": "Speed", "target": "at least 1 ×", "measured": "0.9 ×", "met": False}
    machine = {"cpu": "x", "cores": 2, "flags": [], "memory_gb": 8, "gpu": [], "kernel": "6", "python": "3.11"}
    row = {"table": "a", "runtime": "ours", "images/s": 12.345678}
    return {
        "name": "forward",
        "command": "python -m bench.models.forward",
        "rows": [row],
        "targets": [target],
        "machine": machine,
        "versions": {"torch": "2"},
        **changes,
    }


def test_the_page_agrees_with_the_published_figures():
    text = page.PAGE.read_text("utf-8")
    assert text == page.page(text, page.results()), "run `python -m bench.page`"


def test_a_page_that_is_written_twice_does_not_change():
    empty = page.PAGE.read_text("utf-8")
    once = page.page(empty, [result()])
    assert once == page.page(once, [result()])
    assert "12.35" in once


def test_a_missed_target_is_shown_as_missed():
    assert "| forward | Speed | at least 1 × | 0.9 × | missed |" in page.targets([result()])


def test_rows_of_several_tables_get_a_table_each():
    rows = [{"table": "a", "x": 1}, {"table": "b", "y": 2}]
    text = page.sections([result(rows=rows)])
    assert "| x |" in text
    assert "| y |" in text


def test_results_are_read_in_the_order_of_the_sections(tmp_path):
    for name in ("rivals", "zebra", "forward"):
        (tmp_path / f"{name}.json").write_text(json.dumps(result(name=name)))
    assert [found["name"] for found in page.results(tmp_path)] == ["forward", "rivals", "zebra"]


def test_the_targets_of_a_request_compare_it_with_the_bare_work():
    run = {"prepare_cpu": 2.0, "prepare_p50": 2.0, "forward_cpu": {"1": 9.0, "8": 8.0}, "forward_p50": {"1": 9.0}}
    loads = [
        {"clients": 1, "per_s": 80.0, "frontend_cpu": 3.0, "worker_cpu": 9.0, "p50": 12.0, "p99": 13.0},
        {"clients": 32, "per_s": 150.0, "frontend_cpu": 4.0, "worker_cpu": 8.4, "p50": 200.0, "p99": 250.0},
    ]
    found = {"direct": [run], "loads": loads}
    targets = list(request_figures.targets(request_figures.direct(found), request_figures.loads(found)))
    assert [(target.measured, target.met) for target in targets] == [
        ("2.00 ×", False),
        ("1.05 ×", True),
        ("1.00 ms", True),
    ]


@pytest.mark.parametrize("module", MODULES)
def test_a_benchmark_can_be_imported(module):
    importlib.import_module(module)


@pytest.mark.parametrize("path", RIVALS, ids=lambda path: path.stem)
def test_the_module_of_a_rival_can_be_imported_or_parsed(path: Path):
    ast.parse(path.read_text("utf-8"))
    if path.stem != "__init__" and path.stem not in ENVIRONMENT_OF_THEIR_OWN and not path.stem.endswith("_server"):
        importlib.import_module(f"bench.rivals.{path.stem}")


def test_every_benchmark_that_is_run_exists():
    missing = [module for module in BENCHMARKS.values() if importlib.util.find_spec(module) is None]
    assert not missing
