// The page on which a model is tried.

import { curl, python } from "./code.js";
import { fill, paint } from "./masks.js";

const $ = (id) => document.getElementById(id);
const TASKS = { classify: "Classification", segment: "Segmentation", detect: "Detection" };
const PALETTE = ["#e6194b", "#3cb44b", "#ffe119", "#4363d8", "#f58231", "#911eb4", "#46f0f0", "#f032e6", "#bcf60c", "#fabebe"];

const state = { file: null, answer: null, values: null, size: null, controller: null };

// ---------------------------------------------------------------- models

async function loadModels() {
  const answer = await fetch("/models", { headers: headers() });
  if (!answer.ok) return refuse(answer);
  const { models } = await answer.json();
  $("model").replaceChildren(
    ...Object.entries(TASKS).filter(([task]) => models.some((model) => model.task === task)).map(([task, title]) => {
      const group = document.createElement("optgroup");
      group.label = title;
      group.append(...models.filter((model) => model.task === task).map(({ name }) => new Option(name, `${task} ${name}`)));
      return group;
    }),
  );
}

function chosen() {
  const [task, model] = $("model").value.split(" ");
  return { task, model };
}

function headers() {
  return $("key").value ? { Authorization: `Bearer ${$("key").value}` } : {};
}

// ---------------------------------------------------------------- one request

async function send(file) {
  if (!file) return;
  state.file = file;
  const { task, model } = chosen();
  state.controller?.abort();
  state.controller = new AbortController();
  busy(`Sending ${file.name} to ${model} …`);
  showPhoto(file);
  const form = new FormData();
  form.append("image", file, file.name);
  form.append("model", model);
  const began = performance.now();
  try {
    const answer = await fetch(`/${task}`, { method: "POST", body: form, headers: headers(), signal: state.controller.signal });
    if (!answer.ok) return await refuse(answer);
    state.answer = { task, model, ...(await answer.json()) };
    showAnswer(performance.now() - began, answer.headers.get("Server-Timing") ?? "");
  } catch (error) {
    if (error.name !== "AbortError") fail("The service cannot be reached. Is it running?");
  }
}

async function refuse(answer) {
  const problem = await answer.json().catch(() => ({}));
  if (answer.status === 401) {
    $("key-field").hidden = false;
    $("key").focus();
  }
  const wait = answer.headers.get("Retry-After");
  fail(`${problem.title ?? "The service refused the request"}: ${problem.detail ?? answer.status}.${wait ? ` Try again in ${wait} s.` : ""}`);
}

function fail(text) {
  idle("");
  $("error").textContent = text;
  $("error").hidden = false;
  $("found").replaceChildren();
  $("details").hidden = true;
  $("controls").hidden = true;
  clearLayer();
}

function busy(text) {
  $("result").classList.add("busy");
  $("message").textContent = text;
  $("error").hidden = true;
}

function idle(text) {
  $("result").classList.remove("busy");
  $("message").textContent = text;
}

// ---------------------------------------------------------------- the answer

function showPhoto(file) {
  URL.revokeObjectURL($("photo").src);
  $("photo").src = URL.createObjectURL(file);
  $("photo").alt = `The image that was sent: ${file.name}`;
  $("stage").hidden = false;
  clearLayer();
}

function clearLayer() {
  state.values = null;
  $("layer").width = 0;
  $("pointer").hidden = true;
}

const SHOW = { classify: showClasses, segment: showMask, detect: showObjects };

function showAnswer(total, timing) {
  $("controls").hidden = state.answer.task === "classify";
  $("threshold-field").hidden = state.answer.task !== "detect";
  clearLayer();
  SHOW[state.answer.task]();
  showTimes(total, timing);
  showCode();
  $("details").hidden = false;
}

function showClasses() {
  const { predictions } = state.answer;
  idle(`${predictions[0].label}, ${percent(predictions[0].score)}`);
  $("found").replaceChildren(...predictions.map(({ label, score }) => entry(label, percent(score), { bar: score })));
}

function showMask() {
  const { classes, size } = state.answer;
  const seen = classes.filter(({ label }) => label !== "background");
  idle(seen.length ? `Found: ${seen.map(({ label }) => label).join(", ")}` : "Nothing but background");
  state.size = size;
  state.values = new Uint16Array(size.width * size.height);
  state.names = classes.map(({ label }) => label);
  state.colours = classes.map(({ colour }) => colour);
  classes.forEach((each, i) => each.label !== "background" && fill(state.values, size.width, each.rle, i + 1));
  $("opacity").value ||= 55;
  drawMask();
  $("found").replaceChildren(...classes.map(({ label, share, colour }) => entry(label, percent(share), { colour, bar: share })));
}

function drawMask() {
  paint($("layer"), state.values, state.size.width, state.size.height, state.colours, $("opacity").value / 100);
}

function showObjects() {
  const lowest = $("threshold").value / 100;
  const found = state.answer.detections.filter(({ score }) => score >= lowest);
  const { size } = state.answer;
  const colours = coloursOf(found);
  idle(found.length ? `${found.length} ${found.length === 1 ? "object" : "objects"}: ${counted(found)}` : "No object with such a score");
  state.size = size;
  state.values = new Uint16Array(size.width * size.height);
  found.toReversed().forEach((each, i) => each.rle && fill(state.values, size.width, each.rle, found.length - i));
  state.names = found.map(({ label, score }) => `${label} ${score.toFixed(2)}`);
  state.colours = found.map(({ label }) => colours[label]);
  drawObjects(found);
  $("found").replaceChildren(...found.map(({ label, score }) => entry(label, percent(score), { colour: colours[label], bar: score })));
}

function drawObjects(found) {
  const { width, height } = state.size;
  const context = paint($("layer"), state.values, width, height, state.colours, $("opacity").value / 100);
  const unit = Math.max(1, Math.min(width, height) / 300);
  context.lineWidth = 2 * unit;
  context.font = `600 ${12 * unit}px system-ui, sans-serif`;
  context.textBaseline = "top";
  found.forEach(({ box: [left, top, right, bottom] }, i) => {
    context.strokeStyle = state.colours[i];
    context.strokeRect(left, top, right - left, bottom - top);
    const text = state.names[i];
    context.fillStyle = "rgb(0 0 0 / 75%)";
    context.fillRect(left, top, context.measureText(text).width + 8 * unit, 16 * unit);
    context.fillStyle = "#fff";
    context.fillText(text, left + 4 * unit, top + 2 * unit);
  });
}

function coloursOf(found) {
  const labels = [...new Set(found.map(({ class_id }) => class_id))].sort((a, b) => a - b);
  return Object.fromEntries(found.map(({ label, class_id }) => [label, PALETTE[labels.indexOf(class_id) % PALETTE.length]]));
}

function counted(found) {
  const counts = {};
  for (const { label } of found) counts[label] = (counts[label] ?? 0) + 1;
  return Object.entries(counts).map(([label, count]) => `${count} × ${label}`).join(", ");
}

function entry(label, value, { colour, bar }) {
  const item = document.createElement("li");
  if (bar !== undefined) {
    const filled = document.createElement("span");
    filled.className = "bar";
    filled.style.width = `${Math.max(0.5, bar * 100)}%`;
    item.append(filled);
  }
  const name = document.createElement("span");
  name.className = "name";
  if (colour) {
    const swatch = document.createElement("span");
    swatch.className = "swatch";
    swatch.style.background = colour;
    name.append(swatch);
  }
  name.append(label);
  const number = document.createElement("span");
  number.className = "value";
  number.textContent = value;
  item.append(name, number);
  return item;
}

function percent(share) {
  return `${(share * 100).toFixed(share < 0.1 ? 1 : 0)} %`;
}

// ---------------------------------------------------------------- times and code

const STAGES = {
  decode_queue: "waiting for a decoder", decode: "decode", preprocess: "preprocess", queue: "waiting for the model",
  infer: "model", postprocess: "encode the answer",
};

function showTimes(total, timing) {
  const stages = [...timing.matchAll(/(\w+);dur=([\d.]+)/g)].map(([, name, ms]) => [STAGES[name] ?? name, Number(ms)]);
  const rows = [...stages, ["all, as this page sees it", total]];
  $("times").tBodies[0].replaceChildren(...rows.map(([name, ms]) => {
    const row = document.createElement("tr");
    const head = document.createElement("th");
    head.scope = "row";
    head.textContent = name;
    row.append(head);
    row.insertCell().textContent = `${ms.toFixed(1)} ms`;
    return row;
  }));
}

function showCode() {
  const { task, model } = state.answer;
  const given = [location.origin, task, model, state.file.name, $("key").value];
  $("curl").textContent = curl(...given);
  $("python").textContent = python(...given);
}

// ---------------------------------------------------------------- input

function point(event) {
  if (!state.values) return;
  const box = $("photo").getBoundingClientRect();
  const x = Math.floor(((event.clientX - box.left) / box.width) * state.size.width);
  const y = Math.floor(((event.clientY - box.top) / box.height) * state.size.height);
  const value = state.values[y * state.size.width + x];
  $("pointer").hidden = !value;
  if (value) {
    $("pointer").textContent = state.names[value - 1];
    $("pointer").style.left = `${event.clientX - box.left}px`;
    $("pointer").style.top = `${event.clientY - box.top}px`;
  }
}

async function sendSample(address) {
  const blob = await (await fetch(address)).blob();
  send(new File([blob], address.split("/").pop(), { type: blob.type }));
}

for (const id of ["file", "camera"]) {
  $(id).addEventListener("change", ({ target }) => send(target.files[0]));
}
for (const button of document.querySelectorAll("[data-sample]")) {
  button.addEventListener("click", () => sendSample(button.dataset.sample));
}
for (const button of document.querySelectorAll("[data-copy]")) {
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText($(button.dataset.copy).textContent);
    button.textContent = "Copied";
    setTimeout(() => (button.textContent = "Copy"), 1500);
  });
}
for (const kind of ["dragenter", "dragover"]) {
  document.addEventListener(kind, (event) => {
    event.preventDefault();
    $("drop").classList.add("over");
  });
}
for (const kind of ["dragleave", "drop"]) {
  document.addEventListener(kind, () => $("drop").classList.remove("over"));
}
document.addEventListener("drop", (event) => {
  event.preventDefault();
  send(event.dataTransfer.files[0]);
});
document.addEventListener("paste", ({ clipboardData }) => send(clipboardData.files[0]));
$("model").addEventListener("change", () => send(state.file));
$("key").addEventListener("change", () => ($("model").options.length ? send(state.file) : loadModels()));
$("opacity").addEventListener("input", () => state.answer && state.values && SHOW[state.answer.task]());
$("threshold").addEventListener("input", () => {
  $("threshold-value").textContent = ($("threshold").value / 100).toFixed(2);
  if (state.answer?.task === "detect") showObjects();
});
$("canvas-box").addEventListener("pointermove", point);
$("canvas-box").addEventListener("pointerleave", () => ($("pointer").hidden = true));

loadModels();
