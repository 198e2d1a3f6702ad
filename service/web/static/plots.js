// Plots of the last minutes as SVG, with their content in words.

import { element } from "./dom.js";

const SVG = "http://www.w3.org/2000/svg";
const WIDTH = 300, HEIGHT = 100; // of the coordinates; the plot has the size of its box
const GAP_MS = 8000; // a longer time without a reading interrupts the line

// Return a number with as many digits as are worth reading.
export function readable(value) {
  return value === null ? "–" : Number(value.toPrecision(3)).toLocaleString("en");
}

// Return a plot of `lines` (names) as {box, update(points, now)}; a point is {at, values}, with null for no value.
export function plot({ title, unit, lines }, minutes) {
  const readings = lines.map(() => element("span", { className: "reading" }, "–"));
  const most = element("span", { className: "most" });
  const svg = drawn("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img" });
  const area = svg.appendChild(drawn("path", { class: "area" }));
  const paths = lines.map((_, i) => svg.appendChild(drawn("path", { class: i ? "second" : "first" })));
  const box = element("section", { className: "plot" },
    element("h2", {}, title),
    element("div", { className: "now" }, ...lines.map((line, i) => element("div", {}, readings[i], ...keyOf(line, i)))),
    element("div", { className: "graph" }, svg, most),
    element("div", { className: "axis", ariaHidden: "true" }, element("span", {}, `${minutes} min ago`), element("span", {}, "now")));
  box.ariaLabel = title;

  function update(points, now) {
    const top = ceiling(Math.max(0, ...points.flatMap(({ values }) => values.map((value) => value ?? 0))));
    const place = ({ at }, value) => [WIDTH * (1 + (at - now) / (minutes * 60_000)), HEIGHT * (1 - value / top)];
    most.textContent = `${readable(top)}${unit && ` ${unit}`}`;
    paths.forEach((path, i) => path.setAttribute("d", traced(points, i, place).join("")));
    area.setAttribute("d", traced(points, 0, place).map((part) => `${part}V${HEIGHT}H${part.slice(1, part.indexOf(","))}Z`).join(""));
    readings.forEach((reading, i) => reading.replaceChildren(...figure(points.at(-1)?.values[i] ?? null, unit)));
    svg.setAttribute("aria-label", inWords(title, unit, lines, points, minutes));
  }
  return { box, update };
}

function figure(value, unit) {
  return value === null || !unit ? [readable(value)] : [readable(value), element("small", {}, ` ${unit}`)];
}

function keyOf(line, i) {
  return line ? [" ", element("small", { className: "facts" }, element("span", { className: i ? "key second" : "key" }), line)] : [];
}

function drawn(tag, attributes) {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}

// Return the parts of a line, which ends where values are missing.
function traced(points, i, place) {
  const parts = [];
  let last = null;
  for (const point of points) {
    const value = point.values[i];
    if (value === null) last = null;
    else {
      const [x, y] = place(point, value).map((each) => each.toFixed(1));
      if (last !== null && point.at - last < GAP_MS) parts[parts.length - 1] += `L${x},${y}`;
      else parts.push(`M${x},${y}`);
      last = point.at;
    }
  }
  return parts;
}

// Return the next round number: 1, 2 or 5 times a power of ten.
function ceiling(value) {
  if (value <= 0) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].map((step) => step * power).find((step) => step >= value * 0.999);
}

function inWords(title, unit, lines, points, minutes) {
  const known = (i) => points.map(({ values }) => values[i]).filter((value) => value !== null);
  const amount = (value) => `${readable(value)}${unit && ` ${unit}`}`;
  const sentences = lines.map((line, i) => {
    const values = known(i);
    if (!values.length) return `${line} no value yet`.trim();
    return `${line} now ${amount(points.at(-1).values[i])}, at most ${amount(Math.max(...values))}`.trim();
  });
  return `${title}, last ${minutes} minutes: ${sentences.join("; ")}.`;
}
