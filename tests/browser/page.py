"""The page on which a model is tried, as its users see it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from playwright.sync_api import FilePayload, Page, expect

from tools.documents import ROOT

CAT = ROOT / "examples" / "cat.jpg"
DRAG = """({name, base64, kind, target}) => {
    const bytes = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
    const data = new DataTransfer();
    if (name) data.items.add(new File([bytes], name, {type: "image/jpeg"}));
    const made = kind === "paste"
        ? new ClipboardEvent("paste", {clipboardData: data, bubbles: true})
        : new DragEvent(kind, {dataTransfer: data, bubbles: true, cancelable: true});
    document.querySelector(target).dispatchEvent(made);
}"""
"""The event of a drop or a paste, which carries a file if it has a name."""


class ModelPage:
    """One open page."""

    def __init__(self, page: Page) -> None:
        self.page = page
        expect(page.locator("#model option")).not_to_have_count(0)

    def choose(self, task: str) -> None:
        """Choose a task by its name on the page."""
        self.page.get_by_role("radio", name=task).check()

    def sample(self, name: str) -> None:
        """Click a sample image."""
        self.page.get_by_role("button", name=name).click()

    def give(self, file: Path | FilePayload, *, field: str = "#file") -> None:
        """Choose a file, or take it with the camera."""
        self.page.set_input_files(field, file)

    def headline(self):
        """Return the sentence above the result, which is a live region."""
        return self.page.get_by_role("status").and_(self.page.locator("#message"))

    def error(self):
        """Return the message of an error."""
        return self.page.get_by_role("alert")

    def found(self) -> list[str]:
        """Return what was found: names, each with its number."""
        self.page.wait_for_selector("#found li")
        return self.page.locator("#found .entry").all_inner_texts()

    def alpha(self, x: float, y: float) -> int:
        """Return the alpha of the mask's layer at a place, from 0 to 1 on both axes."""
        pixel = """([x, y]) => {
            const layer = document.querySelector("#layer");
            const at = [Math.floor(x * layer.width), Math.floor(y * layer.height)];
            return layer.getContext("2d").getImageData(...at, 1, 1).data[3];
        }"""
        return self.page.evaluate(pixel, [x, y])

    def point(self, x: float, y: float) -> None:
        """Move the mouse to a place of the image, from 0 to 1 on both axes."""
        box = self.page.locator("#view").bounding_box()
        self.page.mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"])

    def run_python(self, **environ: str) -> str:
        """Run the Python lines with the client of this repository. Return what they print."""
        lines = self.page.locator("#python").inner_text()
        environ = {**os.environ, "PYTHONPATH": str(ROOT / "client"), **environ}
        return output(sys.executable, "-c", lines, env=environ)

    def run_curl(self, folder: Path, **environ: str) -> str:
        """Run the lines of the shell in a folder. Return what they print."""
        if not shutil.which("curl"):
            pytest.skip("curl is not installed")
        lines = self.page.locator("#curl").inner_text()
        return output("sh", "-ec", lines, cwd=folder, env={**os.environ, **environ})


def output(*command: str, **options: object) -> str:
    """Run a program. Return what it prints."""
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60, **options).stdout
