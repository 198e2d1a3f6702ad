"""The body of a request as images and options: every form, every limit, and malformed bodies."""

import asyncio
import base64
import json
import math
import tempfile

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from starlette.requests import Request

from service.errors import BadRequest, Cancelled, RequestTimeout, ServiceError, TooLarge, UnsupportedMedia
from service.rest.body import BodyContent, check_names, field_kinds, from_base64, read_field, unwrap
from service.rest.endpoints import ENDPOINTS
from service.rest.multipart import MAX_FIELD_BYTES, MAX_FIELDS
from service.settings import Settings

IMAGE = b"\x89PNG\r\n\x1a\n\x00 not decoded here \xff"
BOUNDARY = "b0undary"
FORM = f"multipart/form-data; boundary={BOUNDARY}"
MAX_BYTES, MAX_IMAGES = 8 * 2**20, 3
BOUNDARY_END = len("--") + len(BOUNDARY) + len("--")


def request(
    body: bytes,
    content_type: str | None,
    *,
    chunk: int = 65536,
    length: int | None = None,
    encoding: str | None = None,
) -> Request:
    """Return a request as the server hands it over: in chunks."""
    headers = [(b"content-length", str(len(body) if length is None else length).encode())]
    if encoding is not None:
        headers.append((b"content-encoding", encoding.encode()))
    if content_type is not None:
        headers.append((b"content-type", content_type.encode("latin-1")))
    pieces = [body[i : i + chunk] for i in range(0, len(body), chunk)] or [b""]
    messages = [{"type": "http.request", "body": piece, "more_body": True} for piece in pieces]
    messages[-1]["more_body"] = False
    pending = iter(messages)

    async def receive() -> dict:
        return next(pending, {"type": "http.disconnect"})

    return Request({"type": "http", "method": "POST", "path": "/classify", "headers": headers}, receive)


def limits(max_bytes: int) -> Settings:
    """Return settings with these limits."""
    return Settings(max_body_bytes=max_bytes, max_images=MAX_IMAGES)


def unwrapped(body: bytes, content_type: str | None, *, max_bytes: int = MAX_BYTES, **how) -> BodyContent:
    """Return the content of a body."""
    return asyncio.run(
        unwrap(request(body, content_type, **how), limits(max_bytes), ENDPOINTS["classify"].body, deadline=math.inf)
    )


def refusal(body: bytes, content_type: str | None, **how) -> ServiceError:
    """Return the error that a body raises."""
    with pytest.raises(ServiceError) as caught:
        unwrapped(body, content_type, **how)
    return caught.value


def part(name: str, content: bytes, filename: str | None = "cat.jpg", *, more: str = "", header: str = "") -> bytes:
    """Return one part of a form; `more` follows in its disposition, and `header` is another header."""
    disposition = f'form-data; name="{name}"' + (f'; filename="{filename}"' if filename else "") + more
    head = f"--{BOUNDARY}\r\nContent-Disposition: {disposition}\r\n{header}\r\n"
    return head.encode() + content + b"\r\n"


def form(*parts: bytes) -> bytes:
    """Return a whole form."""
    return b"".join(parts) + f"--{BOUNDARY}--\r\n".encode()


def encoded(image: bytes = IMAGE) -> str:
    """Return an image as base64."""
    return base64.b64encode(image).decode()


def as_json(**fields: object) -> bytes:
    """Return a JSON body."""
    return json.dumps(fields).encode()


# ---------------------------------------------------------------------- the three forms


@pytest.mark.parametrize(
    "label", ["image/jpeg", "application/octet-stream", "application/x-www-form-urlencoded", "nonsense", "", None]
)
def test_a_bare_body_is_an_image_whatever_its_content_type(label):
    assert unwrapped(IMAGE, label) == BodyContent((IMAGE,), several=False)


def test_a_form_with_one_image():
    assert unwrapped(form(part("image", IMAGE)), FORM) == BodyContent((IMAGE,), several=False)


def test_a_form_with_several_images_keeps_their_order():
    body = form(*(part("image", IMAGE + bytes([i])) for i in range(3)))
    assert unwrapped(body, FORM).images == tuple(IMAGE + bytes([i]) for i in range(3))


def test_several_images_in_a_form_are_answered_with_a_list():
    assert unwrapped(form(part("image", IMAGE), part("images", IMAGE)), FORM).several


@pytest.mark.parametrize(
    "how",
    [
        {},
        {"more": "; filename*=utf-8''k%C3%A4tzchen.png"},
        {"header": "Content-Type: image/png\r\n"},
        {"header": "content-type: application/octet-stream\r\nContent-Length: 20\r\n"},
        {"more": '; filename=""'},
    ],
    ids=["name alone", "filename*", "image/png", "octet-stream", "empty filename"],
)
@pytest.mark.parametrize("image", [IMAGE, bytes(200_000)], ids=["small", "large"])
def test_an_image_part_needs_no_file_name(how, image):
    assert unwrapped(form(part("image", image, None, **how)), FORM) == BodyContent((image,), several=False)


def test_a_forms_text_fields_are_options():
    body = form(part("top_k", b"3", None), part("image", IMAGE), part("model", b"nano", None))
    assert unwrapped(body, FORM).options == {"top_k": "3", "model": "nano"}


def test_an_empty_file_in_a_form_is_an_empty_image():
    assert unwrapped(form(part("image", b"")), FORM).images == (b"",)


@pytest.mark.parametrize("chunk", [1, 7, 64])
def test_a_form_may_arrive_in_pieces_of_any_size(chunk):
    assert unwrapped(form(part("image", IMAGE)), FORM, chunk=chunk).images == (IMAGE,)


def test_json_with_one_image():
    assert unwrapped(as_json(image=encoded()), "application/json") == BodyContent((IMAGE,), several=False)


def test_json_with_a_list_of_images_is_answered_with_a_list():
    assert unwrapped(as_json(images=[encoded()]), "application/json") == BodyContent((IMAGE,), several=True)


def test_json_carries_options():
    body = as_json(image=encoded(), model="nano", top_k=3)
    assert unwrapped(body, "application/json; charset=utf-8").options == {"model": "nano", "top_k": "3"}


def test_json_can_contain_a_data_url():
    body = as_json(image=f"data:image/png;base64,{encoded()}")
    assert unwrapped(body, "application/json").images == (IMAGE,)


def test_an_empty_body_has_no_image():
    assert unwrapped(b"", "image/png").images == ()


# ---------------------------------------------------------------------- nothing on disk


@pytest.fixture
def no_disk(monkeypatch, tmp_path):
    """Fail if a temporary file is created."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "absent"))
    with pytest.raises(FileNotFoundError):
        tempfile.TemporaryFile()


def test_a_large_part_is_never_written_to_disk(no_disk):
    image = bytes(5 * 2**20)
    assert unwrapped(form(part("image", image)), FORM).images == (image,)


# ---------------------------------------------------------------------- limits


@pytest.mark.parametrize("label", ["image/png", "application/json", FORM], ids=["bare", "json", "form"])
def test_a_body_that_announces_too_much_is_rejected_unread(label):
    async def scenario() -> None:
        sent = request(b"", label, length=1001)
        sent._receive = None  # reading would fail
        await unwrap(sent, limits(1000), ENDPOINTS["classify"].body, deadline=math.inf)

    with pytest.raises(TooLarge, match="1000 bytes"):
        asyncio.run(scenario())


@pytest.mark.parametrize("label", ["image/png", "application/json", FORM], ids=["bare", "json", "form"])
def test_a_body_that_announces_too_little_is_rejected_while_it_is_read(label):
    body = form(part("image", bytes(1001)))
    assert type(refusal(body, label, length=10, max_bytes=1000)) is TooLarge


def test_a_body_of_exactly_the_limit_is_accepted():
    assert len(unwrapped(bytes(1000), "image/png", max_bytes=1000).images[0]) == 1000


def test_far_too_many_images_are_refused_while_the_form_is_read():
    assert type(refusal(form(*[part("image", IMAGE)] * (MAX_IMAGES + 2)), FORM)) is TooLarge


def test_too_many_options_are_refused():
    assert type(refusal(form(*[part("top_k", b"3", None)] * (MAX_FIELDS + 1)), FORM)) is BadRequest


def test_an_option_that_is_too_long_is_refused():
    assert type(refusal(form(part("model", b"x" * (MAX_FIELD_BYTES + 1), None)), FORM)) is BadRequest


# ---------------------------------------------------------------------- malformed


def test_a_form_without_a_boundary_is_refused():
    assert "boundary" in refusal(form(part("image", IMAGE)), "multipart/form-data").detail


def test_a_file_in_another_part_is_refused_with_the_right_name():
    assert "'image'" in refusal(form(part("file", IMAGE)), FORM).detail


def test_a_file_in_another_part_is_rejected_with_any_header():
    for how in ({"more": "; filename*=utf-8''cat.jpg"}, {"header": "Content-Type: image/png\r\n"}):
        assert "'image'" in refusal(form(part("file", IMAGE, None, **how)), FORM).detail


def test_an_image_part_that_contains_a_file_name_is_rejected_with_advice():
    (error,) = unwrapped(form(part("image", b"cat.jpg", None)), FORM).images
    assert isinstance(error, BadRequest)
    assert "-F image=@FILE" in error.detail


def test_an_image_part_that_is_a_url_is_not_fetched():
    (error,) = unwrapped(form(part("image", b"https://example.org/cat.jpg", None)), FORM).images
    assert isinstance(error, BadRequest)
    assert "URLs are not fetched" in error.detail


@pytest.mark.parametrize(
    "body",
    [
        b"no form at all",
        form(part("image", IMAGE))[:-20],
        b"--" + BOUNDARY.encode() + b"\r\nno header\r\n\r\n",
        b"--" + BOUNDARY.encode() + b"\r\nContent-Disposition: form-data\r\n\r\nx\r\n",
        b"--" + BOUNDARY.encode() + b"\r\n\r\nx\r\n",
        b"\x00" * 100,
    ],
    ids=["text", "cut off", "broken header", "no name", "no header", "zeros"],
)
def test_a_malformed_form_yields_no_image(body):
    try:
        assert unwrapped(body, FORM).images == ()
    except ServiceError as error:
        assert type(error) is BadRequest  # noqa: PT017 - either outcome is right


@pytest.mark.parametrize("charset", ["undefined", "idna", "base64", "utf-16", "\x00", "no-such"])
def test_no_charset_of_a_form_breaks_the_parser(charset):
    body = form(part("image", IMAGE), part("model", b"x" * 70 + b"\xff", None))
    try:
        assert unwrapped(body, f"{FORM}; charset={charset}").images == (IMAGE,)
    except ServiceError as error:
        assert type(error) is BadRequest  # noqa: PT017 - either outcome is right


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b'"image"',
        b"null",
        b"\xff\xfe",
        b'{"image": 5}',
        b'{"images": "x"}',
        b'{"images": 5}',
        b'{"image": "aGk=", "top_k": "3"}',
        b'{"image": "aGk=", "top_k": 1.5}',
        b'{"image": "\\ud800"}',
        b"[" * 100_000,
        b"{}",
        b'{"image": "aGk=", "images": []}',
        b'{"image": null, "images": null}',
        b'{"image": "aGk=", "topk": 3}',
    ],
)
def test_malformed_json_is_a_bad_request(body):
    assert type(refusal(body, "application/json")) is BadRequest


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        (b'{"image": ', "the body is not valid JSON: it ends too early"),
        (b"{'image'}", "the body is not valid JSON: object keys must be strings (byte 1)"),
        (b'{"\xff": 1}', "the JSON body is not UTF-8"),
        (b"[" * 100_000, 'the JSON body must be an object, such as {"image": "…"}'),
        (b'{"images": ' + b"[" * 100_000, "the JSON body is nested too deeply"),
        (b'{"image": 5}', "image must be a string"),
        (b'{"images": 5}', "images must be a list of strings"),
        (b'{"image": "aGk=", "top_k": "x"}', "top_k must be a whole number"),
    ],
)
def test_the_error_for_a_json_body_says_what_is_wrong(body, detail):
    assert refusal(body, "application/json").detail == detail


@pytest.mark.parametrize("wrong", [None, 5, {"image": "aGk="}, ["aGk="]])
def test_an_image_in_json_that_is_no_string_fails_alone(wrong):
    good, bad = unwrapped(as_json(images=["aGk=", wrong]), "application/json").images
    assert good == b"hi"
    assert (type(bad), bad.detail) == (BadRequest, "images[1] must be a string")


def test_a_misspelt_field_in_json_gets_the_hint_that_it_gets_in_the_query():
    error = refusal(as_json(image=encoded(), topk=1), "application/json")
    assert error.detail == "no option is called 'topk'; did you mean top_k?"


@pytest.mark.parametrize("task", ENDPOINTS)
def test_each_type_of_a_json_field_has_a_description(task):
    for kind in field_kinds(ENDPOINTS[task].body).values():
        with pytest.raises(BadRequest, match="must be"):
            read_field("field", msgspec.Raw(b"{}"), kind)


@pytest.mark.parametrize("text", ["a", "a*k=", "ÄÖÜ=", "aGk==", "%%%", "cat.jpg"])
def test_what_is_not_base64_is_named_by_its_position(text):
    error = from_base64("images[2]", text)
    assert isinstance(error, BadRequest)
    assert error.detail.startswith("images[2]: not base64")


@pytest.mark.parametrize("text", ["+/8=", "-_8=", "-_8", "+/\r\n8=\r\n", "\n-_8", "data:;base64,-_8", "+/ 8=\t"])
def test_base64_may_be_url_safe_unpadded_and_in_lines(text):
    assert from_base64("image", text) == b"\xfb\xff"


@pytest.mark.parametrize("text", ["https://example.org/cat.jpg", "HTTP://x/a,b", "s3://bucket/cat", "file:///cat"])
def test_a_url_in_an_images_place_is_not_fetched(text):
    error = from_base64("image", text)
    assert isinstance(error, BadRequest)
    assert error.detail == "image: URLs are not fetched; send the image's bytes"


def test_an_image_that_is_not_base64_leaves_its_neighbours_alone():
    first, bad, last = unwrapped(as_json(images=[encoded(), "%%%", encoded()]), "application/json").images
    assert (first, last) == (IMAGE, IMAGE)
    assert isinstance(bad, BadRequest)
    assert bad.detail.startswith("images[1]: not base64")


@pytest.mark.parametrize("encoding", ["gzip", "br", "deflate, gzip", "GZIP"])
@pytest.mark.parametrize("label", ["image/png", "application/json", FORM], ids=["bare", "json", "form"])
def test_a_compressed_body_is_refused_by_the_name_of_its_header(label, encoding):
    error = refusal(IMAGE, label, encoding=encoding)
    assert type(error) is UnsupportedMedia
    assert "Content-Encoding" in error.detail


def test_the_identity_encoding_is_accepted():
    assert unwrapped(IMAGE, "image/png", encoding="identity").images == (IMAGE,)


@pytest.mark.parametrize("body", [IMAGE.replace(b"\0", b""), b"image=cat.jpg&top_k=3"])
def test_a_body_that_curl_altered_without_data_binary_is_rejected_with_advice(body):
    error = refusal(body, "application/x-www-form-urlencoded")
    assert type(error) is UnsupportedMedia
    assert "--data-binary @FILE" in error.detail
    assert "-F image=@FILE" in error.detail


@pytest.mark.parametrize("lost", range(1, BOUNDARY_END + 1))
def test_a_form_whose_end_is_missing_is_called_unterminated(lost):
    assert "not terminated" in refusal(form(part("image", IMAGE))[: -len("\r\n") - lost], FORM).detail


def test_a_form_may_end_without_a_line_break():
    assert unwrapped(form(part("image", IMAGE))[:-2], FORM).images == (IMAGE,)


@pytest.mark.parametrize("label", ["image/png", "application/json", FORM], ids=["bare", "json", "form"])
def test_a_body_that_stalls_is_the_clients_fault(label):
    async def receive() -> dict:
        await asyncio.Event().wait()
        raise AssertionError("the body went on")

    async def scenario() -> None:
        headers = [(b"content-type", label.encode())]
        sent = Request({"type": "http", "method": "POST", "path": "/", "headers": headers}, receive)
        await unwrap(
            sent, limits(MAX_BYTES), ENDPOINTS["classify"].body, deadline=asyncio.get_running_loop().time() + 0.01
        )

    with pytest.raises(RequestTimeout):
        asyncio.run(scenario())


def test_a_client_that_disconnects_within_its_body_cancels_its_request():
    async def receive() -> dict:
        return {"type": "http.disconnect"}

    async def scenario() -> None:
        sent = Request({"type": "http", "method": "POST", "path": "/", "headers": []}, receive)
        await unwrap(sent, limits(MAX_BYTES), ENDPOINTS["classify"].body, deadline=math.inf)

    with pytest.raises(Cancelled):
        asyncio.run(scenario())


def test_a_misspelt_option_is_rejected_with_a_suggestion():
    with pytest.raises(BadRequest, match="did you mean top_k"):
        check_names(["topk"], ("model", "top_k"))


def test_an_unknown_option_is_rejected_with_a_list_of_all():
    with pytest.raises(BadRequest, match="the options are model, top_k"):
        check_names(["xyz"], ("model", "top_k"))


# ---------------------------------------------------------------------- any body


LABELS = st.sampled_from(
    [
        "image/png",
        "application/json",
        FORM,
        FORM + "; charset=utf-16",
        'multipart/form-data; boundary="',
        "a/b; ;;=",
        "",
    ]
) | st.text(st.characters(min_codepoint=32, max_codepoint=255), max_size=60)
SCRAPS = st.sampled_from(
    [
        b"--" + BOUNDARY.encode(),
        b"--",
        b"\r\n",
        b"\n",
        b"Content-Disposition: form-data; ",
        b'name="image"; ',
        b'filename="x"',
        b"filename*=utf-8''%ff",
        b"Content-Type: text/plain",
        b": ",
        b'{"image": "',
        b'{"images": [',
        b'"top_k": 3',
        b"}",
        b"aGk=",
        b"\x00",
        b"\xff",
    ]
)
BODIES = st.binary(max_size=300) | st.lists(SCRAPS | st.binary(max_size=8), max_size=30).map(b"".join)


@given(body=BODIES, label=LABELS, chunk=st.integers(1, 40))
@example(body=b"", label=FORM, chunk=1)
@settings(max_examples=400, deadline=None)
def test_any_body_is_parsed_or_rejected(body, label, chunk):
    try:
        unwrapped(body, label, chunk=chunk)
    except ServiceError as error:
        assert isinstance(error, BadRequest)  # noqa: PT017 - most bodies are refused, some are right


@given(body=st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists, max_leaves=5).map(json.dumps))
@settings(max_examples=200, deadline=None)
def test_any_json_is_parsed_or_rejected(body):
    try:
        unwrapped(body.encode(), "application/json")
    except ServiceError as error:
        assert isinstance(error, BadRequest)  # noqa: PT017 - as above


@given(images=st.lists(st.binary(max_size=200), min_size=1, max_size=MAX_IMAGES), chunk=st.integers(1, 100))
@settings(deadline=None)
def test_the_bytes_in_a_form_are_not_changed(images, chunk):
    kept = [image for image in images if BOUNDARY.encode() not in image]
    assert list(unwrapped(form(*(part("image", image) for image in kept)), FORM, chunk=chunk).images) == kept


def test_a_list_of_countless_images_is_refused_before_it_is_decoded(monkeypatch):
    monkeypatch.setattr(msgspec.json, "decode", lambda *_, **__: pytest.fail("it was decoded"))
    assert type(refusal(b'{"images": [' + b'"",' * 100_000 + b'""]}', "application/json")) is TooLarge


def test_a_content_type_that_is_too_long_is_rejected():
    assert type(refusal(b"", FORM + "; x=" + "y" * 2000)) is BadRequest


def test_the_usual_charset_is_accepted():
    assert unwrapped(form(part("image", IMAGE)), f"{FORM}; charset=UTF-8").images == (IMAGE,)
