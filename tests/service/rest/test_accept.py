"""The format of an answer for an Accept header."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.errors import NotAcceptable
from service.rest.accept import choose
from service.rest.endpoints import ENDPOINTS
from twins.errors import BadOption
from twins.render.renderer import JPEG, JSON, NPY, PNG

SEGMENT = ENDPOINTS["segment"]
OFFERS = SEGMENT.offers
choose_format = SEGMENT.choose_format

TAKEN = {
    "": JSON,
    "*/*": JSON,
    "application/json": JSON,
    "image/png": PNG,
    "IMAGE/PNG": PNG,
    "image/*": PNG,
    "image/jpeg": JPEG,
    "application/x-npy": NPY,
    "application/*": JSON,
    "image/png, */*": PNG,
    "image/png;q=0.5, */*": JSON,
    "image/png;q=0.5, image/jpeg": JPEG,
    "image/*;q=0.2, image/jpeg;q=0.1": PNG,
    "image/*, image/png;q=0": JPEG,
    "*/*, application/json;q=0": PNG,
    "application/json;charset=utf-8": JSON,
    "text/html, image/png ; q = 0.3": PNG,
    "text/html,application/xhtml+xml,image/avif,image/webp,*/*;q=0.8": JSON,
    "image/png;q=high, application/x-npy;q=0.1": NPY,
    "image/png;q=7, image/jpeg": PNG,
    ",, image/png": PNG,
}

REFUSED = [
    "text/html",
    "image/webp",
    "*/*;q=0",
    "image/png;q=0",
    "image",
    "*/png",
    "image/png;q=nan",
    "image/;q=1",
    ",",
]


@pytest.mark.parametrize("header", TAKEN)
def test_the_client_gets_the_type_with_the_highest_quality(header):
    assert choose(header, list(OFFERS)) == TAKEN[header]


@pytest.mark.parametrize("header", REFUSED)
def test_a_client_that_accepts_nothing_on_offer_gets_the_list_of_offers(header):
    with pytest.raises(NotAcceptable) as caught:
        choose_format(None, header, several=False)
    assert all(offer in caught.value.detail for offer in OFFERS)


@pytest.mark.parametrize("wanted", SEGMENT.renderers)
@pytest.mark.parametrize("header", ["text/html", "image/png", "", "*/*;q=0"])
def test_a_named_format_takes_precedence_over_the_accept_header(wanted, header):
    assert choose_format(wanted, header, several=False) == (wanted, SEGMENT.renderers[wanted].media_types[0])


@pytest.mark.parametrize(("header", "media_type"), [("image/jpeg", JPEG), ("image/*", PNG), ("application/json", PNG)])
def test_an_overlay_is_a_jpeg_if_the_client_asks_for_one(header, media_type):
    assert choose_format("overlay", header, several=False) == ("overlay", media_type)


@pytest.mark.parametrize("wanted", ["rle", "none", "PNG", ""])
def test_an_unknown_format_is_rejected(wanted):
    with pytest.raises(BadOption, match="json, png, palette, overlay, hf, npy"):
        choose_format(wanted, "", several=False)


@pytest.mark.parametrize("header", ["", "*/*", "image/png, */*;q=0.1", "application/json"])
def test_several_images_are_answered_in_json(header):
    assert choose_format(None, header, several=True) == ("json", JSON)


@pytest.mark.parametrize(("wanted", "header"), [(None, "image/png"), ("png", ""), ("overlay", "application/json")])
def test_several_images_have_no_other_format(wanted, header):
    with pytest.raises(NotAcceptable, match="several images"):
        choose_format(wanted, header, several=True)


@given(st.text(alphabet="*/;,=q.01imagepnjson ", max_size=60))
def test_any_header_gets_an_answer(header):
    assert choose(header, list(OFFERS)) in {None, *OFFERS}


def test_a_task_with_one_media_type_ignores_what_is_accepted():
    assert ENDPOINTS["classify"].choose_format(None, "image/png", several=False) == ("json", JSON)
