"""Embedding: the features that the library's classifier pools, whole or normalised, from an image to its formats."""

import base64
import io
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tests.crafted import image
from tests.twins.tasks.test_classify import CARD
from twins.images.input_image import InputImage
from twins.render import RENDERERS
from twins.render.renderer import RenderInput
from twins.runtime.plan import Plan
from twins.runtime.reduce import features
from twins.runtime.torch import TorchModel
from twins.tasks.classify import CLASSIFY, ClassifyOptions
from twins.tasks.embed import EMBED, Embedding, EmbedOptions, normalised
from twins.tasks.sample import Output
from twins.zoo.loading import load
from twins.zoo.models import DEFAULT_MODELS, parse_reference

VECTORS = arrays(np.float32, st.integers(1, 50), elements=st.floats(-1e6, 1e6, width=32))
FOUND = Embedding(np.array([3, -4, 0.1], np.float32))


@pytest.fixture(scope="module")
def loaded():
    return load(parse_reference(DEFAULT_MODELS["classify"]))


@pytest.fixture(scope="module")
def model(loaded):
    return TorchModel(loaded, Plan())


def rendered(name: str) -> bytes:
    return RENDERERS["embed"][name].render(RenderInput(FOUND, CARD, EmbedOptions())).content


def test_the_embedding_is_what_the_classifier_pools(loaded, model):
    sample = EMBED.preprocess(InputImage.whole(image(size=(300, 200))), loaded.card, EmbedOptions())
    found = EMBED.postprocess(model.run([sample])[0], loaded.card, EmbedOptions())
    with torch.inference_mode():
        expected = loaded.network.pooled(model.normalise(torch.from_numpy(sample.pixels[None].copy())))[0].numpy()
    assert found.vector.dtype == np.float32
    assert np.array_equal(found.vector, expected)


def test_the_classifiers_last_layer_turns_the_embedding_into_its_scores(loaded, model):
    original = image(size=(300, 200))
    (embedding,) = model.run([EMBED.preprocess(InputImage.whole(original), loaded.card, EmbedOptions())])[0].arrays
    ids, scores = model.run([CLASSIFY.preprocess(InputImage.whole(original), loaded.card, ClassifyOptions())])[0].arrays
    with torch.inference_mode():
        own = loaded.network.head(torch.from_numpy(embedding)).softmax(dim=0)
    assert own.numpy()[ids] == pytest.approx(scores, abs=1e-5)


def test_an_image_is_preprocessed_as_for_classification():
    original = image(size=(300, 200))
    assert np.array_equal(
        EMBED.preprocess(InputImage.whole(original), CARD, EmbedOptions()).pixels,
        CLASSIFY.preprocess(InputImage.whole(original), CARD, ClassifyOptions()).pixels,
    )


def test_a_sample_to_embed_never_shares_a_batch_with_one_to_classify():
    original = image(size=(112, 112))
    layouts = {EMBED.preprocess(InputImage.whole(original), CARD, EmbedOptions()).layout, CLASSIFY.blank(CARD).layout}
    assert len(layouts) == 2


def test_each_sample_gets_its_own_row_of_a_batch():
    batch = torch.arange(6, dtype=torch.bfloat16).view(2, 3)
    assert [row.tolist() for (row,) in features.reduce(batch, [])] == [[0, 1, 2], [3, 4, 5]]


def test_normalisation_is_off_unless_it_is_asked_for():
    output = Output((np.array([3, 4], np.float32),))
    assert EMBED.postprocess(output, CARD, EmbedOptions()).vector.tolist() == [3, 4]
    assert EMBED.postprocess(output, CARD, EmbedOptions(normalize=True)).vector == pytest.approx([0.6, 0.8])


@given(VECTORS)
@example(np.array([1e-45, 1e-45], np.float32))
def test_a_normalised_vector_has_length_one_and_the_same_direction(vector):
    found = normalised(vector)
    if not vector.any():
        assert not found.any()
    else:
        assert np.linalg.norm(found.astype(float)) == pytest.approx(1, abs=1e-5)
        assert found * np.linalg.norm(vector.astype(float)) == pytest.approx(vector, rel=1e-4, abs=1e-30)


def test_a_segmentation_model_cannot_embed():
    assert EMBED.serves(CARD)
    assert not EMBED.serves(replace(CARD, task="segment"))


def test_json_holds_the_numbers():
    answer = json.loads(rendered("json"))
    assert (answer["model"], answer["dim"]) == ("flowers", 3)
    assert np.array_equal(np.array(answer["embedding"], np.float32), FOUND.vector)


def test_base64_holds_little_endian_floats():
    answer = json.loads(rendered("base64"))
    assert (answer["model"], answer["dim"]) == ("flowers", 3)
    assert np.array_equal(np.frombuffer(base64.b64decode(answer["embedding"]), "<f4"), FOUND.vector)


def test_a_numpy_file_has_one_dimension():
    array = np.load(io.BytesIO(rendered("npy")), allow_pickle=False)
    assert (array.dtype, array.shape) == (np.dtype("<f4"), (3,))
    assert np.array_equal(array, FOUND.vector)
