"""`twins-client` in an environment without the server and PyTorch, over HTTP and gRPC."""

import pytest

from tests.clients.environment import run
from tests.server import Server

PROTOCOLS = ("http", "grpc")


@pytest.fixture(scope="module")
def found(detector) -> dict:
    models = ("--model", "twins_svt_nano", "--model", "twins_svt_nano_fpn", "--model", detector)
    with Server(*models) as server:
        return run("own", "own.py", server.http, server.grpc)


def test_the_examples_of_the_docstrings_hold(found):
    tried, failed = found["examples"]
    assert tried >= 10
    assert failed == 0


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_an_image_may_have_any_form_that_python_programs_use(found, protocol):
    assert found[protocol]["labels"] == ["cat"] * 7
    assert found[protocol]["classes"] == 3


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_masks_and_boxes_are_arrays(found, protocol):
    answers = found[protocol]
    shape, pixels, of_regions = answers["mask"]
    assert shape == [300, 451]
    assert pixels == of_regions == 300 * 451
    assert (answers["regions"], answers["boxes"], answers["masks"]) == (True, True, True)
    assert answers["embedding"] == [256]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_errors_have_the_codes_of_the_service(found, protocol):
    assert found[protocol]["errors"] == ["unsupported_media_type", "unknown_model"]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_folder_is_answered_in_order(found, protocol):
    names = [name for name, _ in found[protocol]["folder"]]
    assert names == sorted(names)
    assert {kind for _, kind in found[protocol]["folder"]} == {"Classification"}


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_coroutines_return_the_same(found, protocol):
    answers = found["async"][protocol]
    assert (answers["label"], answers["mask"], answers["boxes"], answers["embedding"]) == (
        "cat",
        [300, 451],
        True,
        [256],
    )
    assert answers["models"] == found[protocol]["models"]


def test_an_address_where_nothing_listens_is_an_error_of_its_own(found):
    assert found["unreachable"] == "unreachable"


def test_the_client_imports_neither_the_server_nor_pytorch(found):
    assert found["modules"] == []
