"""The import rules, which keep torch out of the frontends and each library in one place."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from twins.tasks import TASKS

ROOT = Path(__file__).parent.parent


class Import(NamedTuple):
    """A module that a file imports."""

    file: str  # as in `service/rest/app.py`
    module: str
    late: bool  # inside a function

    def is_of(self, *packages: str) -> bool:
        """Return whether the module is one of these, or inside one."""
        return any(self.module == package or self.module.startswith(f"{package}.") for package in packages)


def imports_of(path: Path) -> Iterator[Import]:
    """Return every import of a file, except those for the type checker."""
    name = str(path.relative_to(ROOT))
    yield from below(ast.parse(path.read_text("utf-8")), name, late=False)


def below(node: ast.AST, file: str, *, late: bool) -> Iterator[Import]:
    """Yield the imports below a node."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        if isinstance(child, ast.Import):
            yield from (Import(file, alias.name, late) for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            assert child.level == 0, f"{file}: imports are absolute here"
            yield Import(file, child.module, late)
            yield from (Import(file, f"{child.module}.{alias.name}", late) for alias in child.names)
        else:
            yield from below(child, file, late=late or isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef))


def sources(folder: str) -> list[Path]:
    """Return the Python files of a package, without generated code."""
    return [path for path in sorted((ROOT / folder).rglob("*.py")) if "service/pb" not in str(path)]


ALL = [found for folder in ("twins", "service") for path in sources(folder) for found in imports_of(path)]


def importers(*packages: str, late: bool = True) -> set[str]:
    """Return the files that import one of these packages. `late` includes imports inside functions."""
    return {found.file for found in ALL if found.is_of(*packages) and (late or not found.late)}


def outside(files: set[str], *allowed: str) -> set[str]:
    """Return the files that match none of the patterns."""
    return {file for file in files if not any(Path(file).match(pattern) for pattern in allowed)}


def test_the_product_imports_no_recipes_tests_tools_or_benchmarks():
    assert not importers("examples", "tests", "bench", "tools")


SERVER_LIBRARIES = [
    "fastapi",
    "uvicorn",
    "starlette",
    "grpc",
    "grpc_health",
    "grpc_reflection",
    "google.protobuf",
    "zmq",
    "prometheus_client",
    "pydantic",
    "pydantic_settings",
    "click",
    "structlog",
    "service",
]


@pytest.mark.parametrize("library", SERVER_LIBRARIES)
def test_the_library_imports_no_server(library):
    assert not {file for file in importers(library) if file.startswith("twins/")}


TORCH = [
    "twins/network/*.py",
    "twins/network/heads/*.py",
    "twins/checkpoints/checkpoint.py",
    "twins/checkpoints/reading.py",
    "twins/runtime/torch.py",
    "twins/runtime/compiled.py",
    "twins/runtime/cuda/*.py",
    "twins/runtime/export.py",
    "twins/runtime/file_formats.py",
    "twins/runtime/record.py",
    "twins/runtime/tensorrt.py",
    "twins/runtime/reduce/*.py",
    "twins/evaluation/multi_scale.py",
]


def test_torch_is_imported_only_where_networks_are():
    assert not outside(importers("torch", "safetensors", late=False), *TORCH)


def reached(module: str) -> set[str]:
    """Return the files of this project that importing a module runs, including itself and its packages."""
    waiting, seen = [module], set()
    while waiting:
        path = ROOT.joinpath(*waiting.pop().split("."))
        for file in (path.with_suffix(".py"), path / "__init__.py", path.parent / "__init__.py"):
            name = str(file.relative_to(ROOT)) if file.is_file() else ""
            if name and name not in seen:
                seen.add(name)
                waiting += [f.module for f in ALL if f.file == name and not f.late]
    return seen


TORCH_FREE = ["twins.runtime.openvino", "twins.runtime.exports", "twins.zoo.loading"]


@pytest.mark.parametrize("module", TORCH_FREE)
def test_a_worker_on_openvino_starts_without_torch(module):
    assert not reached(module) & importers("torch", late=False)


FRONTEND = [
    "service.processes.frontend",
    "service.core.engine",
    "service.ipc.pool",
    "service.processes.supervisor",
    "service.cli",
    "twins",
]


@pytest.mark.parametrize("module", FRONTEND)
def test_only_workers_import_torch(module):
    assert not reached(module) & importers("torch", late=False)


@pytest.mark.parametrize("module", ["service.processes.frontend", "service.processes.worker", "service.cli"])
def test_opentelemetry_is_imported_only_when_traces_are_sent(module):
    assert not reached(module) & importers("opentelemetry", late=False)


def test_a_decoder_process_imports_neither_torch_nor_a_server():
    program = reached("service.decoding.process")
    assert not program & importers("torch", *(set(SERVER_LIBRARIES) - {"service"}), late=False)


def test_the_command_line_does_not_import_the_metrics_before_their_folder_exists():
    assert "service/metrics.py" not in reached("service.cli")


def test_the_application_on_ray_does_not_import_the_metrics_before_their_folder_exists():
    assert "service/metrics.py" not in reached("service.ray.deployment")


@pytest.mark.parametrize("module", ["bench.service.null_service", "tests.faulty.__main__"])
def test_programs_that_replace_the_worker_import_no_metrics_before_their_folder_exists(module):
    code = f"import {module}, sys; sys.exit('service.metrics' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


ONE_PLACE = {
    ("fastapi", "starlette"): [
        "service/rest/*.py",
        "service/rest/openapi/*.py",
        "service/oip/*.py",
        "service/dialects/*.py",
        "service/web/*.py",
        "service/ray/*.py",
    ],
    ("grpc", "grpc_health", "grpc_reflection", "service.pb"): [
        "service/rpc/*.py",
        "service/rpc/tasks/*.py",
        "service/oip/*.py",
        "service/load/rpc.py",
        "service/ray/*.py",
    ],
    ("ray",): ["service/ray/deployment.py"],
    ("aiohttp",): ["service/load/rest.py"],
    ("matplotlib",): ["service/load/plot.py"],
    ("zmq",): ["service/ipc/transport.py"],
    ("uvloop",): ["service/processes/loop.py"],
    ("httptools",): ["service/rest/protocol.py"],
    ("prometheus_client",): [
        "service/metrics.py",
        "service/metric_page.py",
        "service/metric_series.py",
        "service/metric_storage.py",
    ],
    ("pynvml",): ["service/processes/gpu.py"],
    ("opentelemetry",): ["service/tracing/otlp.py"],
    ("click",): ["service/cli/*.py"],
}


@pytest.mark.parametrize("libraries", ONE_PLACE, ids=" ".join)
def test_each_library_is_imported_in_its_one_place(libraries):
    assert not outside(importers(*libraries), *ONE_PLACE[libraries])


@pytest.mark.parametrize(
    ("file", "friends"),
    [("service/core/batcher.py", {"service.errors"}), ("service/errors.py", set())],
    ids=["batcher", "errors"],
)
def test_the_innermost_files_import_the_standard_library_alone(file, friends):
    modules = {found.module for found in ALL if found.file == file}
    foreign = {module for module in modules if module.split(".")[0] not in sys.stdlib_module_names}
    assert not {module for module in foreign if not any(f"{module}.".startswith(f"{friend}.") for friend in friends)}


@pytest.mark.parametrize("package", ["twins", "service"])
def test_every_folder_of_code_is_a_package_and_is_installed(package):
    """setuptools leaves out a folder without an `__init__.py`."""
    folders = {path.parent for path in (ROOT / package).rglob("*.py")}
    assert not [folder for folder in folders if not (folder / "__init__.py").is_file()]


TASK_MODULES = [
    f"{package}.{path.stem}"
    for package in ("twins.tasks", "twins.render", "twins.runtime.reduce", "service.rpc.tasks")
    for path in sources(package.replace(".", "/"))
    if path.stem not in ("__init__", "task", "options", "sample", "renderer")
]


@pytest.mark.parametrize(
    "folder", ["service/access", "service/core", "service/decoding", "service/ipc", "service/processes", "service/rest"]
)
def test_code_for_all_tasks_names_no_task(folder):
    importing = {file for file in importers(*TASK_MODULES) if file.startswith(f"{folder}/")}
    naming = {str(path.relative_to(ROOT)) for path in sources(folder) if strings(path) & set(TASKS)}
    assert not importing | naming


def checks_the_task(node: ast.AST) -> bool:
    """Return whether a node compares something with the name of a task, or checks the type of a task's result."""
    if isinstance(node, ast.Compare):
        return any(isinstance(each, ast.Constant) and each.value in TASKS for each in [node.left, *node.comparators])
    results = ("Classification", "Segmentation", "Embedding")
    return (
        isinstance(node, ast.Call) and ast.unparse(node.func) == "isinstance" and ast.unparse(node.args[1]) in results
    )


def test_only_tasks_depend_on_the_task():
    asking = {
        str(path.relative_to(ROOT))
        for folder in ("service", "twins", "tools", "bench")
        for path in sources(folder)
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if checks_the_task(node)
    }
    assert not outside(asking, "twins/tasks/*.py", "twins/render/*.py", "twins/runtime/reduce/*.py")


def strings(path: Path) -> set[str]:
    """Return the strings in a file."""
    nodes = ast.walk(ast.parse(path.read_text("utf-8")))
    return {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}


def reads_the_environment(path: Path) -> bool:
    """Return whether a file reads the environment of the process."""
    nodes = list(ast.walk(ast.parse(path.read_text("utf-8"))))
    names = {node.attr for node in nodes if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "os"}
    taken = {
        alias.name for node in nodes if isinstance(node, ast.ImportFrom) and node.module == "os" for alias in node.names
    }
    return bool({"environ", "environb", "getenv", "putenv"} & (names | taken))


def test_the_environment_is_read_in_one_module():
    readers = {
        str(path.relative_to(ROOT))
        for folder in ("twins", "service")
        for path in sources(folder)
        if reads_the_environment(path)
    }
    assert readers == {"service/environment.py"}


def test_access_knows_no_calls_no_protocols_and_no_processes():
    layers = [f"service.{name}" for name in ("core", "decoding", "ipc", "processes", "rest", "rpc", "oip", "dialects")]
    assert not {file for file in importers(*layers) if file.startswith("service/access/")}


WALL_CLOCK = {
    "service/access/keys.py",  # when a key expires
    "service/logs.py",  # the times of log lines
    "service/metrics.py",  # when a request was answered, as Prometheus wants it
    "service/processes/supervisor.py",  # until when a shutdown lasts, likewise
    "service/tracing/otlp.py",  # when a span began, as OTLP wants it
    "twins/runtime/exports.py",  # the age of a file
}


def test_no_deadline_and_no_duration_uses_the_wall_clock_which_can_jump():
    readers = {
        str(path.relative_to(ROOT))
        for folder in ("twins", "service")
        for path in sources(folder)
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Attribute) and ast.unparse(node) in ("time.time", "time.time_ns", "datetime.now")
    }
    assert readers == WALL_CLOCK


def test_the_rules_name_existing_files():
    named = [pattern for pattern in TORCH if not list(ROOT.glob(pattern))]
    assert not named


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("import torch", [("torch", False)]),
        ("def f():\n    import torch", [("torch", True)]),
        ("class A:\n    import torch.nn", [("torch.nn", False)]),
        ("if TYPE_CHECKING:\n    import torch", []),
        ("try:\n    from torch import nn\nexcept ImportError:\n    pass", [("torch", False), ("torch.nn", False)]),
    ],
)
def test_imports_are_found_anywhere_in_a_file(code, expected):
    assert [(f.module, f.late) for f in below(ast.parse(code), "file", late=False)] == expected
