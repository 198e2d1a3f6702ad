"""The backend `compile`: which batches run compiled, what is kept for the next start, and a missing compiler."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from tests.nvml import needs_compiler
from twins.runtime import compiled
from twins.runtime.compiled import CompiledNetwork
from twins.runtime.plan import Plan
from twins.runtime.torch import TorchModel
from twins.tasks.classify import ClassifyParams
from twins.tasks.embed import EmbedParams
from twins.tasks.sample import Sample
from twins.zoo.loading import load
from twins.zoo.models import DEFAULT_MODELS, parse_reference


class Compiler:
    """In place of torch.compile: records the shapes that would be compiled."""

    def __init__(self) -> None:
        self.shapes: list[tuple[int, ...]] = []

    def __call__(self, function, *, dynamic):
        assert not dynamic

        def program(x):
            self.shapes.append(tuple(x.shape))
            return function(x)

        return program


@pytest.fixture
def compiler(monkeypatch):
    recorder = Compiler()
    monkeypatch.setattr(compiled.torch, "compile", recorder)
    return recorder


@pytest.fixture
def model(compiler):
    return TorchModel(load(parse_reference(DEFAULT_MODELS["classify"])), Plan(backend="compile"))


@pytest.fixture(scope="module")
def plain():
    return TorchModel(load(parse_reference(DEFAULT_MODELS["classify"])), Plan())


def samples(count, height=112, width=112, params=None):
    random = np.random.default_rng(0)
    return [
        Sample(random.integers(0, 256, (height, width, 3), np.uint8), params or ClassifyParams()) for _ in range(count)
    ]


def assert_same(found, expected):
    assert len(found) == len(expected)
    assert all(
        np.allclose(array, reference, atol=1e-5)
        for one, other in zip(found, expected, strict=True)
        for array, reference in zip(one.arrays, other.arrays, strict=True)
    )


def test_a_batch_is_padded_to_a_size_that_is_compiled(model, compiler):
    for size in (1, 2, 4):
        model.warm_up(size)
    compiler.shapes.clear()
    for count in (1, 2, 3):
        model.run(samples(count))
    assert [shape[0] for shape in compiler.shapes] == [1, 2, 4]


def test_a_padded_batch_gives_the_answers_of_a_plain_model(model, plain):
    model.warm_up(4)
    assert_same(model.run(samples(3)), plain.run(samples(3)))


def test_a_batch_that_is_larger_than_all_programs_gets_its_own(model, compiler):
    model.warm_up(2)
    model.run(samples(3))
    assert [shape[0] for shape in compiler.shapes] == [2, 3]


@pytest.mark.parametrize("given", [samples(2, height=64), samples(2, params=EmbedParams())], ids=["size", "task"])
def test_other_image_sizes_and_tasks_are_not_compiled(model, plain, compiler, given):
    assert_same(model.run(given), plain.run(given))
    assert compiler.shapes == []


def test_an_unloaded_model_holds_no_program(model):
    model.unload()
    assert not hasattr(model, "compiled")


COMPILE = """
import sys, torch
from twins.errors import BackendMissing
from twins.runtime.compiled import CompiledNetwork
from torch._dynamo.utils import counters
try:
    with torch.inference_mode():
        CompiledNetwork(torch.nn.GELU(), (3, 8, 8))(torch.zeros(2, 3, 8, 8))
except BackendMissing as error:
    sys.exit(str(error))
print(counters["inductor"]["fxgraph_cache_hit"], counters["inductor"]["fxgraph_cache_miss"])
"""


def compile_once(folder, **environment):
    """Compile a network in a new process, with the programs of earlier ones in a folder."""
    command = [sys.executable, "-c", COMPILE]
    variables = {**os.environ, "TORCHINDUCTOR_CACHE_DIR": str(folder), **environment}
    return subprocess.run(command, env=variables, capture_output=True, text=True, check=False)


@needs_compiler
def test_what_one_start_compiles_the_next_one_reads(tmp_path):
    assert [compile_once(tmp_path).stdout.strip() for _ in range(2)] == ["0 1", "1 0"]


def test_without_a_compiler_the_error_says_what_to_install(tmp_path):
    done = compile_once(tmp_path, PATH="/nowhere", CXX="")
    assert done.returncode == 1
    assert "install them (on Debian: g++ and python3-dev), or use --backend torch" in done.stderr


@needs_compiler
@pytest.mark.heavy
def test_the_shipped_model_gives_the_same_answers_compiled(plain):
    model = TorchModel(load(parse_reference(DEFAULT_MODELS["classify"])), Plan(backend="compile"))
    model.warm_up(4)
    assert isinstance(model.compiled, CompiledNetwork)
    assert_same(model.run(samples(3)), plain.run(samples(3)))
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] >= 1
