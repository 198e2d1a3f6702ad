"""The engine over a pool of this process: requests are answered without any other process."""

import asyncio
from contextlib import asynccontextmanager

import pytest
from safetensors import safe_open
from safetensors.torch import save_file

from service.core.call import Call, Caller
from service.core.engine import Engine
from service.core.local import LocalPool
from service.errors import Internal, Unavailable
from service.settings import Settings
from tools.documents import ROOT
from twins.runtime.choice import open_backend
from twins.runtime.plan import Plan
from twins.tasks.classify import ClassifyOptions
from twins.zoo.models import DEFAULT_MODELS, parse_reference

CAT = (ROOT / "examples" / "cat.jpg").read_bytes()
NAME = DEFAULT_MODELS["classify"]


@asynccontextmanager
async def serving(model: str):
    """Yield an engine whose pool runs one model."""
    pool = LocalPool(lambda _: open_backend(Plan("cpu", threads=1)), max_batch=2)
    engine = Engine(Settings(), pool)
    await pool.open()
    await pool.load(parse_reference(model), warm_up=False)
    server = asyncio.create_task(pool.serve())
    try:
        yield engine
    finally:
        server.cancel()
        pool.close()


async def predict(engine: Engine, *images: bytes) -> list:
    with engine.call(Caller("id-1", "http", asyncio.get_running_loop().time()), "infer") as outcome:
        return await engine.predict(Call("classify", images, ClassifyOptions()), outcome)


async def test_an_image_is_answered_in_this_process():
    async with serving(NAME) as engine:
        answers = await predict(engine, CAT, CAT, CAT)
    assert [answer.result.predictions[0].label for answer in answers] == ["cat"] * 3


async def test_an_engine_is_ready_as_long_as_its_pool_has_a_model():
    notified: list[bool] = []
    async with serving(NAME) as engine:
        engine.on_ready_change.append(notified.append)
        assert engine.ready
        await engine.pool.unload(NAME)
        assert (engine.ready, notified) == (False, [False])
        with pytest.raises(Unavailable):
            await predict(engine, CAT)


@pytest.fixture
def broken_checkpoint(tmp_path):
    """A file of the classifier that ships whose last layer is so large that the scores overflow."""
    packaged = ROOT / "twins" / "weights" / f"{NAME}.safetensors"
    with safe_open(packaged, "pt") as file:
        state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - a handle, not a dict
        metadata = file.metadata()
    weight = state["head.weight"].float()
    state["head.weight"] = weight / weight.abs().max() * 3e38
    save_file(state, tmp_path / "broken.safetensors", metadata)
    return tmp_path / "broken.safetensors"


async def test_scores_that_are_not_finite_are_an_error_and_no_answer(broken_checkpoint):
    async with serving(f"{NAME}={broken_checkpoint}") as engine:
        (answer,) = await predict(engine, CAT)
    assert isinstance(answer, Internal)
    assert "no finite scores" in answer.detail
