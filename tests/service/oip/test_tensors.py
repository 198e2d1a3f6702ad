"""Tensors of the Open Inference Protocol in binary form and as lists."""

import numpy as np
import pytest

from service.errors import BadRequest
from service.oip import tensors
from service.oip.tensors import DATATYPES, Header, from_binary, from_elements, from_numbers, to_binary, to_list

NUMBERS = [name for name in DATATYPES if name != "BYTES"]


@pytest.mark.parametrize("datatype", NUMBERS)
def test_numbers_survive_their_binary_form(datatype):
    values = np.array([[0, 1, 1], [1, 0, 1]], DATATYPES[datatype])
    data = to_binary(tensors.numbers("x", datatype, values))
    found = from_binary(Header("x", datatype, (2, 3)), data)
    assert np.array_equal(found.values, values)
    assert len(data) == 6 * DATATYPES[datatype].itemsize


@pytest.mark.parametrize("datatype", NUMBERS)
def test_numbers_survive_json(datatype):
    values = np.array([[0, 1, 1], [1, 0, 1]], DATATYPES[datatype])
    flat = to_list(tensors.numbers("x", datatype, values))
    assert np.array_equal(from_numbers(Header("x", datatype, (2, 3)), flat).values, values)
    assert np.array_equal(from_numbers(Header("x", datatype, (2, 3)), values.tolist()).values, values)


def test_numbers_are_little_endian():
    assert to_binary(tensors.numbers("x", "UINT32", [1])) == b"\1\0\0\0"


def test_bytes_survive_their_binary_form():
    elements = [b"", b"one", b"\0\xff" * 300]
    data = to_binary(from_elements(Header("x", "BYTES", (3, 1)), elements))
    assert list(from_binary(Header("x", "BYTES", (3,)), data).values) == elements
    assert data.startswith(b"\0\0\0\0\3\0\0\0one")


@pytest.mark.parametrize(
    ("shape", "data", "reason"),
    [
        ((2,), b"\1\0\0\0a", "1 elements"),
        ((1,), b"\1\0\0\0a\1\0\0\0b", "2 elements"),
        ((1,), b"\2\0\0\0a", "ends within an element"),
        ((1,), b"\2\0", "ends within an element"),
        ((1,), b"\xff\xff\xff\xff", "ends within an element"),
        ((10**18,), b"", "0 elements"),
    ],
)
def test_bytes_that_do_not_fit_their_shape_are_refused(shape, data, reason):
    with pytest.raises(BadRequest, match=reason):
        from_binary(Header("x", "BYTES", shape), data)


@pytest.mark.parametrize(("shape", "size"), [((2, 2), 3), ((2, 2), 5), ((10**9, 10**9), 4)])
def test_numbers_that_do_not_fit_their_shape_are_refused(shape, size):
    with pytest.raises(BadRequest, match="bytes"):
        from_binary(Header("x", "UINT8", shape), bytes(size))


@pytest.mark.parametrize("numbers", [[[1, 2], [3]], ["a"], [300], [-1], [None], [{}], [[[[1]]], 2]])
def test_a_list_that_is_no_tensor_is_refused(numbers):
    with pytest.raises(BadRequest, match=r"no list of UINT8 values|elements"):
        from_numbers(Header("x", "UINT8", (1,)), numbers)


@pytest.mark.parametrize(
    ("datatype", "shape"),
    [
        *(("FLOAT", (1,)), ("", (1,)), ("BF16", (1,)), ("UINT8", ()), ("UINT8", (-1,)), ("UINT8", (1,) * 9)),
        *(("UINT8", (2**63,)), ("UINT8", (10**4000,) * 2), ("BYTES", (0,)), ("UINT8", (0, 2**40, 2**40))),
    ],
)
def test_an_unknown_data_type_or_shape_is_refused(datatype, shape):
    with pytest.raises(BadRequest):
        Header("x", datatype, shape)


def test_a_billion_images_without_pixels_are_refused_at_once():
    """Without values, nothing but the shape says how many there are."""
    with pytest.raises(BadRequest, match="elements"):
        from_binary(Header("x", "UINT8", (10**9, 0, 1, 3)), b"")


def test_texts_are_utf8():
    made = tensors.texts("x", np.array([["größe", ""]], object))
    assert (made.shape, to_list(made)) == ((1, 2), ["größe", ""])
