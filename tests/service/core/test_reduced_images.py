"""Which images the engine lets the decoder reduce."""

import pytest

from service.core.call import Call
from tests.crafted import encoded, image
from tests.service.core.engines import caller
from twins.images import decode as images
from twins.render.renderer import Renderer
from twins.tasks.classify import ClassifyOptions

SIZE = (400, 300)
LARGE = encoded("JPEG", image(size=SIZE))


@pytest.fixture
def decoded(monkeypatch):
    """The images that were decoded."""
    found, decode = [], images.OpenedImage.decode

    def record(*arguments, **options):
        found.append(decode(*arguments, **options))
        return found[-1]

    monkeypatch.setattr(images.OpenedImage, "decode", record)
    return found


async def answer(engine, renderer=None):
    with engine.call(caller(), "infer") as outcome:
        call = Call("classify", (LARGE,), ClassifyOptions(), renderer=renderer)
        return (await engine.predict_one(call, outcome)).result


async def test_a_large_image_is_reduced_by_default(engine, decoded):
    await answer(engine)
    assert (decoded[0].size, decoded[0].reduced) == (SIZE, True)


async def test_no_image_is_reduced_if_decoding_is_exact(make, decoded):
    await answer(make(decode="exact"))
    assert not decoded[0].reduced


async def test_an_answer_that_shows_the_image_shows_it_at_its_full_size(engine):
    shows_size = Renderer({"": lambda inputs: bytes(inputs.image.size[0])}, needs_image=True)
    assert len((await answer(engine, shows_size)).content) == SIZE[0]


async def test_a_large_image_needs_only_the_memory_of_the_reduced_one(make, decoded):
    await answer(make(max_held_bytes=SIZE[0] * SIZE[1], max_body_bytes=2048))
    assert decoded[0].reduced
