// Elements of the page. Texts are set as text, so nothing in an answer is ever read as HTML.

export const $ = (id) => document.getElementById(id);

// Return a new element. `properties` are those of the object, `children` are elements and texts.
export function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

// Return a row of a table: a heading, then a cell for each other text or element.
export function row(heading, ...cells) {
  return element("tr", {}, element("th", { scope: "row" }, heading), ...cells.map((cell) => element("td", {}, cell)));
}

// Set a text, unless it is there already: a live region is read out whenever it is set.
export function say(target, text) {
  if (target.textContent !== text) target.textContent = text;
}

// Return how requests and metrics name a version of a model: the first one by the name alone.
export function key({ name, version }) {
  return version === "1" ? name : `${name}@${version}`;
}

const LIBRARIES = { openvino: "OpenVINO", torch: "PyTorch", onnx: "ONNX Runtime", tensorrt: "TensorRT" };

// Return the name of the library that runs a model.
export function library({ backend }) {
  return LIBRARIES[backend] ?? backend ?? "–";
}

export function percent(share) {
  return `${(share * 100).toFixed(share < 0.0995 ? 1 : 0)} %`;
}
