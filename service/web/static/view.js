// The image with what was found in it: a layer of masks, boxes, and the class under the pointer.
//
// A region is {label, colour, rle, box, score}. A mask, a box or both say where it is; a colour of null leaves the
// image as it is. Earlier regions lie above later ones.

import { $, element, say } from "./dom.js";
import { fill, paint } from "./masks.js";

const MANY = 20; // boxes: more of them have no labels, which would hide the image
const STEP = 0.02; // of the image's width and height: how far an arrow key moves the point
const MOVES = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
const HELP = "Image with what was found. The arrow keys move a point, and what is there is read out.";

let regions = [], values = null, size = null, point = [0.5, 0.5];

// Show an image, with nothing found in it yet.
export function showImage(file) {
  URL.revokeObjectURL($("image").src);
  $("image").src = URL.createObjectURL(file);
  $("image").alt = `The image that was sent: ${file.name}`;
  $("view").classList.remove("unseen", "unturned");
  $("stage").hidden = false;
  clear();
}

// Remove all masks and boxes.
export function clear() {
  [regions, values, size] = [[], null, null];
  $("layer").width = 0;
  $("boxes").replaceChildren();
  hidePoint();
  for (const name of ["role", "tabindex", "aria-label"]) $("view").removeAttribute(name);
}

// Show the regions that were found in an image of this size.
export function showRegions(found, { width, height }) {
  [regions, size] = [found, { width, height }];
  values = new Uint16Array(width * height);
  for (let i = found.length - 1; i >= 0; i--) {
    if (found[i].rle) fill(values, width, found[i].rle, i + 1);
  }
  const boxes = found.filter(({ score }) => score !== undefined).map(boxOf);
  $("boxes").replaceChildren(...boxes);
  $("boxes").classList.toggle("many", boxes.length > MANY);
  highlight(null);
  hidePoint();
  setAttributes($("view"), { role: "application", tabindex: "0", "aria-label": HELP });
  fitImage();
}

// Show one region more clearly than all others, or all alike if `chosen` is null.
export function highlight(chosen) {
  paint($("layer"), values, size, regions.map(({ colour }, i) => (chosen === null || chosen === i ? colour : null)));
  [...$("boxes").children].forEach((box, i) => {
    box.classList.toggle("faded", chosen !== null && chosen !== i);
    box.classList.toggle("chosen", chosen === i);
  });
}

function boxOf({ label, score, colour, box: [left, top, right, bottom] }) {
  const box = element("div", { className: "box" }, element("span", {}, `${label} ${score.toFixed(2)}`));
  box.classList.toggle("high", top < 0.08 * size.height);
  box.classList.toggle("right", left > 0.7 * size.width);
  const share = (value, all) => `${(100 * value) / all}%`;
  Object.assign(box.style, {
    left: share(left, size.width), width: share(right - left, size.width),
    top: share(top, size.height), height: share(bottom - top, size.height),
  });
  box.style.setProperty("--colour", colour);
  return box;
}

function setAttributes(target, attributes) {
  for (const [name, value] of Object.entries(attributes)) target.setAttribute(name, value);
}

// Let the browser show the image as the service saw it. The mask has the size of the image, turned if the model does so.
function fitImage() {
  const { naturalWidth: width, naturalHeight: height } = $("image");
  const shape = size ?? { width, height };
  const turned = width !== height && (width > height) !== (shape.width > shape.height);
  $("view").classList.toggle("unturned", Boolean(width && size && turned));
  if (shape.width) $("view").style.setProperty("--ratio", shape.width / shape.height);
}

// ---------------------------------------------------------------- the class under the pointer

// Return the label at a place, from 0 to 1 on both axes. Boxes count where no mask is.
function labelAt(x, y) {
  const column = Math.min(size.width - 1, Math.floor(x * size.width));
  const line = Math.min(size.height - 1, Math.floor(y * size.height));
  const inside = ({ box, rle }) => !rle && box && box[0] <= column && column <= box[2] && box[1] <= line && line <= box[3];
  const region = regions[values[line * size.width + column] - 1] ?? regions.find(inside);
  return region ? [region.label, region.score?.toFixed(2)].filter(Boolean).join(" ") : "nothing found here";
}

function showPoint(x, y) {
  if (!values) return;
  const label = $("pointer");
  say(label, labelAt(x, y));
  label.hidden = false;
  Object.assign(label.style, { left: `${x * 100}%`, top: `${y * 100}%` });
  label.classList.toggle("left", label.offsetWidth + 16 > (1 - x) * $("view").clientWidth);
  label.classList.toggle("above", label.offsetHeight + 16 > (1 - y) * $("view").clientHeight);
}

function hidePoint() {
  $("pointer").hidden = true;
  $("cross").hidden = true;
}

function follow({ clientX, clientY }) {
  const box = $("view").getBoundingClientRect();
  const [x, y] = [(clientX - box.left) / box.width, (clientY - box.top) / box.height];
  $("cross").hidden = true;
  if (x >= 0 && x < 1 && y >= 0 && y < 1) showPoint(x, y);
}

function step(event) {
  const move = MOVES[event.key];
  if (!move || !values) return;
  event.preventDefault();
  const far = STEP * (event.shiftKey ? 5 : 1);
  point = point.map((value, axis) => Math.min(0.999, Math.max(0, value + move[axis] * far)));
  showPoint(...point);
  $("cross").hidden = false;
  Object.assign($("cross").style, { left: `${point[0] * 100}%`, top: `${point[1] * 100}%` });
}

$("image").addEventListener("load", fitImage);
$("image").addEventListener("error", () => $("view").classList.add("unseen"));
$("view").addEventListener("pointerdown", follow);
$("view").addEventListener("pointermove", follow);
$("view").addEventListener("pointerleave", ({ pointerType }) => pointerType === "mouse" && hidePoint());
$("view").addEventListener("keydown", step);
$("view").addEventListener("blur", hidePoint);
