// The time of each stage of a request, from the header Server-Timing.

import { $, element, row } from "./dom.js";

const STAGES = {
  decode_queue: "Wait for a decoder", decode: "Decode the image", preprocess: "Prepare the input",
  queue: "Wait for the model", infer: "Run the model", postprocess: "Write the answer",
};

// Show the stages in the order in which they ran. `total` is the time that the page waited, in milliseconds.
export function showTimes(total, header) {
  const stages = [...header.matchAll(/(\w+);dur=([\d.]+)/g)].map(([, name, ms]) => [STAGES[name] ?? name, Number(ms)]);
  const rest = Math.max(0, total - stages.reduce((sum, [, ms]) => sum + ms, 0));
  let began = 0;
  const rows = [...stages, ["Send and receive", rest]].map(([name, ms]) => {
    const span = element("span", { className: "span" });
    span.style.left = `${(began / total) * 100}%`;
    span.style.width = `${Math.max(0.4, (ms / total) * 100)}%`;
    began += ms;
    const made = row(name, element("span", { className: "track" }, span), `${ms.toFixed(1)} ms`);
    made.cells[1].ariaHidden = "true";
    return made;
  });
  $("times").tBodies[0].replaceChildren(...rows);
  $("total").textContent = `${total.toFixed(total < 100 ? 1 : 0)} ms`;
}
