// What a model found, in words and as a list of bars, for each task.

import { $, element, percent } from "./dom.js";
import { clear, highlight, showRegions } from "./view.js";

const COLOURS = ["#ff4d6d", "#2dd4bf", "#ffb020", "#5b8cff", "#b57bff", "#7ddc4f", "#ff7ad9", "#38bdf8", "#f97316", "#e5e34a"];
const BACKGROUND = "background"; // the name of the class for all other things: it is left as it is

// Show an answer, and return it as a sentence.
export function show(answer) {
  return SHOW[answer.task](answer);
}

const SHOW = { classify: showClasses, segment: showMask, detect: showObjects };

function showClasses({ predictions }) {
  clear();
  list("classes", "Most likely classes", predictions.map(({ label, score }) => entry(label, score)));
  return `${predictions[0].label} ${percent(predictions[0].score)}`;
}

function showMask({ classes, size }) {
  const regions = classes.map((each) => ({ ...each, box: undefined, colour: each.label === BACKGROUND ? null : each.colour }));
  showRegions(regions, size);
  list("regions", "Share of the image", regions.map(({ label, share, colour }, i) => toggle(i, entry(label, share, colour))));
  const seen = regions.filter(({ colour }) => colour).map(({ label, share }) => `${label} ${percent(share)}`);
  return seen.length ? seen.join(", ") : "Nothing but background";
}

function showObjects({ detections, size }) {
  const lowest = Number($("threshold").value) / 100;
  const found = detections.filter(({ score }) => score >= lowest);
  const regions = found.map((each, i) => ({ ...each, colour: COLOURS[i % COLOURS.length] }));
  showRegions(regions, size);
  list("objects", "Score of each object", regions.map(({ label, score, colour }, i) => toggle(i, entry(label, score, colour))));
  return found.length ? counted(found) : "No object with such a score";
}

// Return "2 × person, 1 × car".
function counted(found) {
  const counts = new Map();
  for (const { label } of found) counts.set(label, (counts.get(label) ?? 0) + 1);
  return [...counts].map(([label, count]) => `${count} × ${label}`).join(", ");
}

function list(kind, title, entries) {
  $("found").className = kind;
  $("found-title").textContent = title;
  $("found").replaceChildren(...entries.map((made) => element("li", {}, made)));
}

// Return a name, a number and a bar. `colour` is null for what has no colour, and undefined where colours mean nothing.
function entry(label, share, colour) {
  const swatch = element("span", { className: "swatch" });
  swatch.style.background = colour ?? "transparent";
  const filled = element("span", { className: "filled" });
  filled.style.width = `${Math.max(0.5, share * 100)}%`;
  if (colour) filled.style.background = colour;
  return element("span", { className: "entry" },
    element("span", { className: "name" }, ...(colour === undefined ? [] : [swatch]), label),
    element("span", { className: "value" }, percent(share)),
    element("span", { className: "bar" }, filled));
}

// Return a button that shows one region more clearly: while it is pointed at or focused, and for good when pressed.
function toggle(i, content) {
  const button = element("button", { type: "button" }, content);
  const pressed = () => [...$("found").querySelectorAll("button")].findIndex((each) => each.ariaPressed === "true");
  const restore = () => highlight(pressed() < 0 ? null : pressed());
  button.ariaPressed = "false";
  button.addEventListener("click", () => {
    const was = button.ariaPressed === "true";
    for (const each of $("found").querySelectorAll("button")) each.ariaPressed = "false";
    button.ariaPressed = String(!was);
    restore();
  });
  button.addEventListener("pointerenter", ({ pointerType }) => pointerType === "mouse" && highlight(i));
  button.addEventListener("pointerleave", ({ pointerType }) => pointerType === "mouse" && restore());
  button.addEventListener("focus", () => button.matches(":focus-visible") && highlight(i));
  button.addEventListener("blur", () => button.isConnected && restore());
  return button;
}
