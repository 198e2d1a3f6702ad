"""All six variants in every format: the same weights give the same logits in every format and container."""

import re

import pytest
import torch

import twins
from tests import checkpoints
from tests.golden import cases, seeded
from twins.checkpoints import formats
from twins.network.heads.classify import Classifier
from twins.network.variants import VARIANTS, Family

PARAMETERS = {
    "pcpvt_small": 24_106_216,
    "pcpvt_base": 43_828_456,
    "pcpvt_large": 60_989_672,
    "svt_small": 24_060_776,
    "svt_base": 56_070_952,
    "svt_large": 99_271_400,
}
IMAGES = torch.from_numpy(seeded.batch("formats", 1, 224, 224))
MMPRETRAIN = {
    "pcpvt": Family(edge="masked", rounding="ceil", eps=1e-6, patch_eps=1e-5, reduction_eps=1e-6),
    "svt": Family(edge="masked", rounding="ceil", eps=1e-5, patch_eps=1e-5, reduction_eps=1e-5),
}


@pytest.fixture(scope="module", params=PARAMETERS)
def weights(request):
    """Return the name of a variant and its seeded weights. Only one variant at a time is in memory."""
    return request.param, checkpoints.seeded(VARIANTS[request.param])


@torch.inference_mode()
def direct(variant, state, family):
    """Return the logits of a network with the weights, without any file."""
    with torch.device("meta"):
        network = Classifier(VARIANTS[variant], family, 1000)
    network.load_state_dict(state, assign=True)
    return network.eval()(IMAGES)


@pytest.fixture(scope="module")
def references(weights):
    variant, state = weights
    return {
        "timm": direct(variant, state, Family()),
        "mmpretrain": direct(variant, state, MMPRETRAIN[VARIANTS[variant].kind]),
    }


@pytest.mark.parametrize("form", checkpoints.WRITERS)
def test_every_format_of_every_variant_gives_the_same_logits_as_the_weights_themselves(
    weights, references, form, tmp_path
):
    variant, state = weights
    path = checkpoints.WRITERS[form](state, tmp_path / "weights")
    network = twins.load(f"twins_{variant}", path)
    path.unlink()
    reference = references.get(form, references["timm"])
    with torch.inference_mode():
        worst = (network(IMAGES) - reference).abs().max()
    assert worst <= cases.TOLERANCE * reference.std()


def test_every_variant_has_the_published_number_of_parameters(weights):
    variant, state = weights
    assert sum(tensor.numel() for tensor in state.values()) == PARAMETERS[variant]


def classification_cases():
    return [*cases.named("timm"), *cases.named("mmpretrain"), *cases.named("pipeline")]


@pytest.mark.parametrize("name", classification_cases())
def test_every_golden_key_matches_exactly_one_rule(name):
    keys = [key for key, _ in cases.read(name).facts["keys"]]
    rules = formats.recognise(keys).rules
    assert {sum(re.fullmatch(rule.pattern, key) is not None for rule in rules) for key in keys} == {1}


@pytest.mark.parametrize("variant", ["pcpvt_small", "svt_small"])
def test_the_mmpretrain_names_of_the_tests_equal_the_golden_ones(variant):
    golden = cases.read(f"mmpretrain-twins-{variant.replace('_', '-')}_3rdparty_8xb128_in1k").facts["keys"]
    with torch.device("meta"):
        network = Classifier(VARIANTS[variant], Family(), 1000)
    assert {checkpoints.mmpretrain_name(key) for key in network.state_dict()} == {key for key, _ in golden}
