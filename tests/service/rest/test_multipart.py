"""A form with one image and nothing else is read without the parser, and has the content that the parser finds."""

import asyncio
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.rest import multipart
from service.rest.multipart import Part, only_image, read_parts

BOUNDARY = b"b0undary"
DELIMITER = b"\r\n--" + BOUNDARY


def form(
    payload: bytes, *, name: str = "image", filename: str | None = "cat.jpg", headers: str = "", end: bytes = b"--"
):
    """Return a form with one part."""
    file = "" if filename is None else f'; filename="{filename}"'
    head = f'Content-Disposition: form-data; name="{name}"{file}\r\n{headers}\r\n'
    return b"--" + BOUNDARY + b"\r\n" + head.encode() + payload + DELIMITER + end


def parts_of(body: bytes) -> list[Part]:
    """Return the parts of a form."""
    content_type = f"multipart/form-data; boundary={BOUNDARY.decode()}"
    return asyncio.run(read_parts(body, content_type, {b"boundary": BOUNDARY}, 3))


PIECES = (b"--", b"\r", b"\n", b"\r\n", BOUNDARY, DELIMITER, DELIMITER[:-1], DELIMITER + b"--", b"data", b"\0\xff")
FORMS = st.builds(
    form,
    st.lists(st.sampled_from(PIECES)).map(b"".join),
    name=st.sampled_from(("image", "images", "IMAGE", "top_k")),
    filename=st.none() | st.text('a .;="\\%é\t', max_size=4),
    headers=st.sampled_from(("", "Content-Type: image/jpeg\r\n", "content-type: text/plain\r\n", "X-Other: 1\r\n")),
    end=st.sampled_from((b"--", b"--\r\n", b"--\r\nepilogue", b"\r\n", b"")),
)


@given(FORMS)
def test_the_part_that_needs_no_parser_is_the_part_that_the_parser_finds(body):
    found = only_image(body, BOUNDARY)
    with patch.object(multipart, "only_image", return_value=None):
        assert found is None or parts_of(body) == [found]


@pytest.mark.parametrize("filename", [None, "", "a cat.jpg"])
@pytest.mark.parametrize("headers", ["", "Content-Type: image/jpeg\r\n"])
def test_the_form_of_one_image_needs_no_parser(filename, headers):
    with patch.object(multipart, "FormParser", side_effect=AssertionError):
        assert parts_of(form(b"data", filename=filename, headers=headers)) == [Part("image", b"data", filename or "")]


@pytest.mark.parametrize("filename", ['a"b', "a\\b", "é"])
def test_a_file_name_that_may_be_escaped_needs_the_parser(filename):
    assert only_image(form(b"data", filename=filename), BOUNDARY) is None


def test_a_form_of_two_images_needs_the_parser():
    both = form(b"first", end=b"\r\n") + form(b"second")[len(DELIMITER) :]
    assert only_image(both, BOUNDARY) is None
    assert [part.content for part in parts_of(both)] == [b"first", b"second"]
