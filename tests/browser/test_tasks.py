"""What the page shows for each task, and the lines that repeat it."""

import re

import pytest
from playwright.sync_api import expect

HEAD, CORNER = (0.4, 0.5), (0.99, 0.4)  # places of the cat's image: on its nose and outside of it
STAGES = ["Wait for a decoder", "Decode the image", "Prepare the input", "Wait for the model", "Run the model"]
PROGRAMS = [
    ("Classify", "A cat's face", "cat: 0.9"),
    ("Segment", "A cat's face", "cat: 7"),
    ("Detect", "Two people", "person 0.8"),
]


def shown(page, task: str, sample: str) -> None:
    """Run a task on a sample, and wait for its answer."""
    page.choose(task)
    page.sample(sample)
    expect(page.page.locator("#list")).to_be_visible()


def test_classes_are_bars_in_the_order_of_their_scores(page):
    shown(page, "Classify", "A cat's face")
    names = [text.split("\n")[0] for text in page.found()]
    widths = [bar.bounding_box()["width"] for bar in page.page.locator("#found .filled").all()]
    assert names[0] == "cat"
    assert len(names) == 5
    assert widths == sorted(widths, reverse=True)
    expect(page.headline()).to_have_text(re.compile(r"^cat 9\d %$"))


def test_a_mask_lies_over_the_image_and_leaves_the_background_as_it_is(page):
    shown(page, "Segment", "A cat's face")
    assert page.alpha(*HEAD) == 255
    assert page.alpha(*CORNER) == 0


def test_the_legend_has_the_share_of_each_class(page):
    shown(page, "Segment", "A cat's face")
    shares = dict(text.split("\n") for text in page.found())
    assert set(shares) == {"cat", "background"}
    assert sum(float(share.removesuffix(" %")) for share in shares.values()) == pytest.approx(100, abs=1)


def test_the_class_under_the_pointer_is_named(page):
    shown(page, "Segment", "A cat's face")
    label = page.page.locator("#pointer")
    expect(label).to_be_hidden()
    page.point(*HEAD)
    expect(label).to_have_text("cat")
    page.point(*CORNER)
    expect(label).to_have_text("background")
    page.page.mouse.move(0, 0)
    expect(label).to_be_hidden()


def test_the_slider_sets_the_opacity_of_the_mask(page):
    shown(page, "Segment", "A cat's face")
    page.page.get_by_label("Opacity").fill("20")
    expect(page.page.locator("#layer")).to_have_css("opacity", "0.2")
    expect(page.page.locator("#curl")).to_contain_text("opacity=0.2")


def test_a_pressed_class_of_the_legend_is_shown_alone(page):
    shown(page, "Segment", "A cat's face")
    page.page.get_by_role("button", name="background").click()
    page.page.mouse.move(0, 0)
    assert page.alpha(*HEAD) == 0
    page.page.get_by_role("button", name="background").click()
    page.page.mouse.move(0, 0)
    assert page.alpha(*HEAD) == 255


def test_objects_have_boxes_labels_and_masks(page):
    shown(page, "Detect", "Two people")
    labels = page.page.locator(".box span").all_inner_texts()
    assert [label.split()[0] for label in labels][:2] == ["person", "person"]
    assert len(labels) == len(page.found())
    page.point(0.78, 0.7)
    expect(page.page.locator("#pointer")).to_have_text(re.compile(r"^person 0\.\d\d$"))
    assert page.alpha(0.78, 0.7) == 255
    assert page.alpha(0.5, 0.1) == 0


def test_a_lower_score_shows_more_objects(page):
    shown(page, "Detect", "Two people")
    few = len(page.found())
    page.page.get_by_label("Lowest score").fill("10")
    assert len(page.found()) > few
    assert page.page.locator(".box").count() == len(page.found())
    expect(page.page.locator("#python")).to_contain_text("threshold=0.1")


def test_another_task_takes_the_same_image(page):
    shown(page, "Classify", "A cat's face")
    page.choose("Segment")
    expect(page.page.locator("#found-title")).to_have_text("Share of the image")
    expect(page.page.get_by_label("Model", exact=True)).to_have_value("twins_svt_nano_fpn")
    expect(page.headline()).to_contain_text("cat 7")


def test_the_time_of_each_stage_is_shown(page):
    shown(page, "Classify", "A cat's face")
    names = page.page.locator("#times th").all_inner_texts()
    numbers = page.page.locator("#times td:last-child").all_inner_texts()
    assert names == [*STAGES, "Write the answer", "Send and receive"]
    assert all(re.fullmatch(r"\d+\.\d ms", number) for number in numbers)


@pytest.mark.parametrize(("task", "sample", "expected"), PROGRAMS)
def test_the_lines_repeat_the_request(page, tmp_path, task, sample, expected):
    shown(page, task, sample)
    assert expected in page.run_python()
    answer = page.run_curl(tmp_path)
    if task == "Classify":
        assert '"label":"cat"' in answer
    else:
        assert (tmp_path / f"{task.lower()}.png").read_bytes().startswith(b"\x89PNG")


def test_the_copy_button_copies_the_lines(page):
    page.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    shown(page, "Classify", "A cat's face")
    page.page.get_by_role("button", name="Copy the curl command").click()
    expect(page.page.locator("#copied")).to_have_text("Copied.")
    copied = page.page.evaluate("navigator.clipboard.readText()")
    assert copied == page.page.locator("#curl").inner_text()
