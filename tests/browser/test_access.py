"""The pages by keyboard, for screen readers, in light and dark, and on a phone."""

import re

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from tests.browser.page import ModelPage
from tests.server import wait_until

SCHEMES = ["light", "dark"]
PHONE = {"viewport": {"width": 375, "height": 740}, "has_touch": True, "is_mobile": True}
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
TASKS = [("Classify", "A cat's face"), ("Segment", "A cat's face"), ("Detect", "Two people")]


def violations(page: Page) -> str:
    """Return what axe-core finds wrong in light and dark, as a report."""
    reports = ""
    for scheme in SCHEMES:
        page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        found = Axe().run(page, options={"runOnly": RULES})
        reports += f"{scheme}: {found.generate_report()}" if found.violations_count else ""
    return reports


def overflow(page: Page) -> int:
    """Return by how many pixels the page is wider than the screen."""
    return page.evaluate("document.documentElement.scrollWidth - innerWidth")


def press(page: Page, *keys: str) -> None:
    """Press keys one after another."""
    for key in keys:
        page.keyboard.press(key)


def focus_by_tab(page: Page, name: str) -> None:
    """Press Tab until the element of this id has the focus."""
    for _ in range(40):
        if page.evaluate("document.activeElement.id || document.activeElement.dataset.sample") == name:
            return
        page.keyboard.press("Tab")
    raise AssertionError(f"the key Tab never reaches {name}")


def test_axe_finds_nothing_wrong_with_any_state_of_the_page(page):
    assert not violations(page.page)
    for task, sample in TASKS:
        page.choose(task)
        page.sample(sample)
        expect(page.page.locator("#details")).to_be_visible()
        assert not violations(page.page), task
    page.give({"name": "notes.txt", "mimeType": "image/jpeg", "buffer": b"no image"})
    expect(page.error()).to_be_visible()
    assert not violations(page.page)


def test_axe_finds_nothing_wrong_with_the_status(open_page):
    page = open_page("/status")
    expect(page.get_by_role("row", name="twins_svt_nano_fpn")).to_be_visible()
    assert not violations(page)


def test_the_page_follows_the_colour_scheme(open_page):
    brightness = "getComputedStyle(document.body).backgroundColor.match(/[0-9]+/g).reduce((a, b) => a + Number(b), 0)"
    light, dark = (open_page("/", color_scheme=scheme).evaluate(brightness) for scheme in SCHEMES)
    assert dark < 150
    assert light > 600


def test_a_phone_shows_every_result_without_scrolling_sideways(open_page):
    page = ModelPage(open_page("/", **PHONE))
    assert page.page.get_by_text("Use the camera").is_visible()
    for task, sample in TASKS:
        page.choose(task)
        page.sample(sample)
        expect(page.page.locator("#details")).to_be_visible()
        assert overflow(page.page) == 0, task
    expect(page.page.locator("#view")).to_be_in_viewport()


def test_a_tap_names_the_class_on_a_phone(open_page):
    page = ModelPage(open_page("/", **PHONE))
    page.choose("Segment")
    page.sample("A cat's face")
    page.page.locator("#view[tabindex]").tap()
    expect(page.page.locator("#pointer")).to_have_text("cat")


def test_a_phone_shows_the_status_without_scrolling_sideways(open_page):
    page = open_page("/status", **PHONE)
    expect(page.get_by_role("row", name="twins_svt_nano_fpn")).to_be_visible()
    assert overflow(page) == 0


def test_everything_works_by_keyboard(page):
    keys, choosers = page.page, []
    keys.on("filechooser", lambda chooser: choosers.append(chooser.page))  # early, since it takes effect with a delay
    keys.get_by_role("radio", name="Classify").focus()
    press(keys, "ArrowRight")
    expect(keys.get_by_role("radio", name="Segment")).to_be_checked()
    focus_by_tab(keys, "file")
    press(keys, "Enter")
    wait_until(lambda: keys.evaluate("true") and choosers, what="the choice of a file")
    focus_by_tab(keys, "/static/samples/cat.jpg")
    press(keys, "Enter")
    expect(page.headline()).to_have_text(re.compile("^cat 7"))

    focus_by_tab(keys, "view")
    press(keys, "ArrowLeft")
    expect(keys.locator("#pointer")).to_have_text("cat")
    press(keys, *["Shift+ArrowRight"] * 5)
    expect(keys.locator("#pointer")).to_have_text("background")

    focus_by_tab(keys, "opacity")
    press(keys, "Home", "ArrowRight")
    expect(keys.locator("#opacity-value")).to_have_text("1 %")
    press(keys, "Tab")
    expect(keys.locator("#found button").first).to_be_focused()
    press(keys, "Space")
    expect(keys.locator("#found button").first).to_have_attribute("aria-pressed", "true")


def test_a_link_skips_to_the_result(page):
    press(page.page, "Tab", "Enter")
    expect(page.page.locator("#result")).to_be_focused()


def test_a_screen_reader_finds_regions_names_and_announcements(page):
    page.choose("Segment")
    page.sample("A cat's face")
    expect(page.page.locator("#list")).to_be_visible()
    expect(page.page.get_by_role("main")).to_match_aria_snapshot("""
      - region "Model and image":
        - group "Task":
          - radio "Classify"
          - radio "Segment" [checked]
          - radio "Detect"
      - region "Result":
        - status: /cat 7\\d %/
        - figure:
          - application /arrow keys/
          - slider "Opacity"
        - list "Share of the image":
          - listitem:
            - button /cat 7\\d %/
      - region /Time/
      - region "The same from a program"
    """)


def test_a_label_next_to_the_edge_stays_on_the_image(page):
    page.choose("Segment")
    page.sample("A cat's face")
    expect(page.page.locator("#list")).to_be_visible()
    page.point(0.98, 0.97)
    label, view = (page.page.locator(each).bounding_box() for each in ("#pointer", "#view"))
    assert label["x"] + label["width"] <= view["x"] + view["width"]
    assert label["y"] + label["height"] <= view["y"] + view["height"]
    assert re.search("left.*above", page.page.locator("#pointer").get_attribute("class"))
