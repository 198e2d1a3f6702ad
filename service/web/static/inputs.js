// The ways to give an image: choose, photograph, drop, paste, or click a sample.

import { $ } from "./dom.js";

const NO_FILE = "That was not a file. Save the image first, and drop the file.";
const NO_IMAGE = "The clipboard holds no image. Copy an image, and paste again.";

// Call `give(file, sample)` for each image; `sample` is the path of a sample. Call `complain(text)` if there is none.
export function listen(give, complain) {
  for (const input of [$("file"), $("camera")]) {
    input.addEventListener("change", () => {
      const [file] = input.files;
      if (file) give(file, "");
      input.value = ""; // so that the same file can be chosen again
    });
  }
  for (const button of document.querySelectorAll("[data-sample]")) {
    button.addEventListener("click", () => open(button.dataset.sample, give, complain));
  }
  document.addEventListener("paste", (event) => {
    if (event.target.matches?.("input")) return;
    const [file] = event.clipboardData.files;
    if (file) give(file, "");
    else complain(NO_IMAGE);
  });
  listenToDrops(give, complain);
}

async function open(address, give, complain) {
  try {
    const blob = await (await fetch(address)).blob();
    give(new File([blob], address.split("/").pop(), { type: blob.type }), address);
  } catch {
    complain();
  }
}

// The whole page takes drops, since a file that misses the target would replace the page.
function listenToDrops(give, complain) {
  const mark = (over) => document.body.classList.toggle("dropping", over);
  document.addEventListener("dragover", (event) => {
    event.preventDefault();
    mark(true);
  });
  document.addEventListener("dragleave", ({ relatedTarget }) => relatedTarget ?? mark(false));
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    mark(false);
    const [file] = event.dataTransfer.files;
    if (file) give(file, "");
    else complain(NO_FILE);
  });
}
