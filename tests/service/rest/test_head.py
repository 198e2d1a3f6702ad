"""The limits of what surrounds bodies, and the headers that HTTP does not allow."""

import pytest

from service.rest.head import MAX_HEAD_BYTES, MAX_HEADERS, Head, check_headers
from service.rest.refusals import Refusal

HOST = (b"host", b"x")


@pytest.fixture
def head():
    found = Head()
    found.begin()
    return found


def test_a_piece_of_a_body_starts_the_count_anew(head):
    for _ in range(3):
        head.add_bytes(MAX_HEAD_BYTES)
        head.check_bytes()
        head.read_body()
    head.add_bytes(MAX_HEAD_BYTES + 1)
    with pytest.raises(Refusal, match="too large"):
        head.check_bytes()


def test_the_next_request_has_room_for_its_own_headers(head):
    for _ in range(3):
        head.begin()
        head.add_field(b"a", b"b" * (MAX_HEAD_BYTES - 1), earlier=0)
    with pytest.raises(Refusal, match="too large"):
        head.add_field(b"c", b"", earlier=1)


def test_one_header_more_than_the_limit_is_refused(head):
    head.add_field(b"a", b"b", earlier=MAX_HEADERS - 1)
    with pytest.raises(Refusal, match="more than 128 headers"):
        head.add_field(b"a", b"b", earlier=MAX_HEADERS)


@pytest.mark.parametrize(
    ("headers", "version", "status"),
    [
        ([], "1.1", 400),
        ([HOST, HOST], "1.1", 400),
        ([HOST, HOST], "1.0", 400),
        ([HOST, (b"transfer-encoding", b"gzip")], "1.1", 501),
        ([HOST, (b"transfer-encoding", b"gzip, chunked")], "1.1", 501),
        ([HOST, (b"transfer-encoding", b"chunked"), (b"transfer-encoding", b"chunked")], "1.1", 501),
    ],
)
def test_headers_that_http_does_not_allow_are_refused(headers, version, status):
    with pytest.raises(Refusal) as refused:
        check_headers(headers, version)
    assert refused.value.status == status


@pytest.mark.parametrize(
    ("headers", "version"),
    [([HOST], "1.1"), ([], "1.0"), ([HOST, (b"transfer-encoding", b"Chunked")], "1.1")],
)
def test_usual_headers_are_accepted(headers, version):
    check_headers(headers, version)
