"""Each way of giving an image to the page."""

import base64
import re
import shlex

import pytest
from PIL import Image
from playwright.sync_api import expect

from tests.browser.page import CAT, DRAG
from tests.browser.workers import stopped

ORIENTATION, TURN_RIGHT = 0x0112, 6  # EXIF
IS_A_CAT = re.compile(r"^cat 9\d %$")


def dispatch(page, kind: str, name: str) -> None:
    """Drop or paste a file of this name, or something that is no file if the name is empty."""
    content = base64.b64encode(CAT.read_bytes()).decode()
    page.page.evaluate(DRAG, {"name": name, "base64": content, "kind": kind, "target": "h1"})


def test_a_file_is_chosen(page):
    page.give(CAT)
    expect(page.headline()).to_have_text(IS_A_CAT)


def test_a_file_is_taken_with_the_camera(page):
    assert page.page.locator("#camera").get_attribute("capture") == "environment"
    page.give(CAT, field="#camera")
    expect(page.headline()).to_have_text(IS_A_CAT)


@pytest.mark.parametrize("kind", ["drop", "paste"])
def test_a_file_is_dropped_or_pasted_anywhere(page, kind):
    dispatch(page, kind, "tom cat.jpg")
    expect(page.headline()).to_have_text(IS_A_CAT)
    assert page.page.get_by_alt_text("The image that was sent: tom cat.jpg").is_visible()


def test_a_page_under_a_dragged_file_shows_where_it_goes(page):
    dispatch(page, "dragover", "cat.jpg")
    expect(page.page.locator("body")).to_have_class("dropping")
    dispatch(page, "drop", "cat.jpg")
    expect(page.page.locator("body")).not_to_have_class("dropping")
    expect(page.headline()).to_have_text(IS_A_CAT)


@pytest.mark.parametrize(("kind", "reason"), [("drop", "not a file"), ("paste", "holds no image")])
def test_what_is_no_file_is_refused_in_plain_words(page, kind, reason):
    dispatch(page, kind, "")
    expect(page.error()).to_contain_text(reason)


def test_a_sample_is_clicked(page):
    page.sample("A cat's face")
    expect(page.headline()).to_have_text(IS_A_CAT)
    expect(page.page.get_by_role("button", name="A cat's face")).to_have_attribute("aria-pressed", "true")


def test_the_same_file_can_be_chosen_again(page):
    with page.page.expect_response("**/classify"):
        page.give(CAT)
    with page.page.expect_response("**/classify"):
        page.give(CAT)


def test_the_name_of_a_file_is_one_word_of_the_command(page):
    name = "tom's cat $(id).jpg"
    page.give({"name": name, "mimeType": "image/jpeg", "buffer": CAT.read_bytes()})
    expect(page.headline()).to_have_text(IS_A_CAT)
    words = shlex.split(page.page.locator("#curl").inner_text().replace("\\\n", " "))
    assert words[1:3] == ["-F", f"image=@{name}"]


def test_an_image_that_browsers_cannot_show_is_answered_all_the_same(page, tmp_path):
    Image.open(CAT).save(tmp_path / "cat.tiff")
    page.give(tmp_path / "cat.tiff")
    expect(page.headline()).to_have_text(IS_A_CAT)
    expect(page.page.locator("#view")).to_have_class(re.compile("unseen"))


def test_the_answer_for_an_earlier_image_is_not_shown(page, server):
    with stopped(server):
        page.sample("A cat's face")
        expect(page.headline()).to_contain_text("Sending cat.jpg")
        page.give({"name": "notes.txt", "mimeType": "image/jpeg", "buffer": b"no image"})
        expect(page.error()).to_contain_text("not an image")
    page.give(CAT)
    expect(page.headline()).to_have_text(IS_A_CAT)
    expect(page.page.get_by_role("alert")).to_be_hidden()


def test_no_animation_runs_if_less_motion_is_preferred(page, server):
    with stopped(server):
        page.sample("A cat's face")
        expect(page.page.locator("#result")).to_have_class("result busy")
        assert page.page.evaluate("document.getAnimations().length") == 0
    expect(page.headline()).to_have_text(IS_A_CAT)


def test_an_image_that_its_camera_held_sideways_is_shown_upright_under_its_mask(page, tmp_path):
    turned, exif = Image.open(CAT).transpose(Image.Transpose.ROTATE_90), Image.Exif()
    exif[ORIENTATION] = TURN_RIGHT
    turned.save(tmp_path / "turned.jpg", exif=exif)
    page.choose("Segment")
    page.give(tmp_path / "turned.jpg")
    expect(page.headline()).to_have_text(re.compile(r"^cat [78]\d %"))
    box = page.page.locator("#view").bounding_box()
    assert box["width"] / box["height"] == pytest.approx(451 / 300, abs=0.02)
    assert page.page.evaluate("layer.width / layer.height") == pytest.approx(451 / 300)
