// The page on which a model is tried: the model, one request at a time, and where its answer is shown.

import { show } from "./answers.js";
import { curl, python } from "./code.js";
import { $, element, key, library, say } from "./dom.js";
import { listen } from "./inputs.js";
import { explain, unanswered } from "./problems.js";
import { showTimes } from "./times.js";
import { clear, showImage } from "./view.js";

const TASKS = { classify: "Classify", segment: "Segment", detect: "Detect" };
const state = { models: [], file: null, sample: "", answer: null, sent: null, controller: null };

// ---------------------------------------------------------------- models

async function loadModels() {
  try {
    const answer = await fetch("/models", { headers: headers() });
    if (!answer.ok) return await refuse(answer);
    state.models = (await answer.json()).models;
  } catch {
    return fail(await unanswered());
  }
  $("error").hidden = true;
  const tasks = Object.keys(TASKS).filter((task) => state.models.some((model) => model.task === task));
  $("tasks").append(...tasks.map(radio));
  $("tasks").hidden = tasks.length < 2;
  if (tasks.length) choose(tasks[0]);
  else say($("message"), "This service has no model that this page can show.");
}

function radio(task) {
  const input = element("input", { type: "radio", name: "task", value: task, className: "covered" });
  input.addEventListener("change", () => {
    choose(task);
    send();
  });
  return element("label", {}, input, TASKS[task]);
}

// Offer the models of a task.
function choose(task) {
  $("tasks").querySelector(`[value=${task}]`).checked = true;
  const names = state.models.filter((model) => model.task === task).map(key);
  $("model").replaceChildren(...names.map((name) => new Option(name, name)));
  describeModel();
}

function chosen() {
  return state.models.find((model) => key(model) === $("model").value);
}

function describeModel() {
  const { classes, variant, ...model } = chosen();
  $("about").textContent = `${variant}, ${classes} classes, run by ${library(model)}`;
}

function headers() {
  return $("key").value ? { Authorization: `Bearer ${$("key").value}` } : {};
}

// ---------------------------------------------------------------- one request

async function send() {
  const model = chosen();
  if (!state.file || !model) return;
  const { task } = model, name = key(model);
  state.controller?.abort();
  const { signal } = (state.controller = new AbortController());
  busy(`Sending ${state.file.name} to ${name} …`);
  const form = new FormData();
  form.append("image", state.file, state.file.name);
  form.append("model", name);
  const began = performance.now();
  try {
    const answer = await fetch(`/${task}`, { method: "POST", body: form, headers: headers(), signal });
    if (!answer.ok) return await refuse(answer, signal);
    state.answer = { task, ...(await answer.json()) };
    state.sent = { task, model: name, file: state.file.name, sample: state.sample };
    showAnswer(performance.now() - began, answer.headers.get("Server-Timing") ?? "");
  } catch {
    const problem = await unanswered();
    if (!signal.aborted) fail(problem);
  }
}

function give(file, sample) {
  [state.file, state.sample] = [file, sample];
  $("welcome").hidden = true;
  for (const button of document.querySelectorAll("[data-sample]")) button.ariaPressed = String(button.dataset.sample === sample);
  hideAnswer();
  showImage(file);
  send();
  reveal();
}

// On a phone the result is below the buttons.
function reveal() {
  const { top } = $("result").getBoundingClientRect();
  const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
  if (top > innerHeight / 2) $("result").scrollIntoView({ behavior: still ? "auto" : "smooth" });
}

// ---------------------------------------------------------------- states of the result

function busy(text) {
  $("result").classList.add("busy");
  say($("message"), text);
  $("error").hidden = true;
}

function idle(text) {
  $("result").classList.remove("busy");
  say($("message"), text);
}

async function refuse(answer, signal) {
  const problem = await explain(answer);
  if (signal?.aborted) return; // another request has taken its place
  fail(problem);
  if (answer.status === 401) {
    $("key-form").hidden = false;
    $("key").focus();
  }
}

function fail({ text, detail = "", again = false }) {
  idle("");
  hideAnswer();
  $("error-text").textContent = text;
  $("error-detail").textContent = detail;
  $("again").hidden = !(again && state.file);
  $("error").hidden = false;
}

function hideAnswer() {
  state.answer = null;
  clear();
  for (const id of ["controls", "list", "details"]) $(id).hidden = true;
}

function showAnswer(total, timing) {
  const { task } = state.answer;
  $("controls").hidden = task === "classify";
  $("threshold-field").hidden = task !== "detect";
  for (const id of ["list", "details"]) $(id).hidden = false;
  showTimes(total, timing);
  refresh();
}

// Show the answer again, as the sliders are now.
function refresh() {
  if (!state.answer) return;
  idle(show(state.answer));
  showCode();
}

function showCode() {
  const { task } = state.sent;
  const options = {
    ...(task === "detect" && { threshold: $("threshold").value / 100 }),
    ...(task !== "classify" && { opacity: $("opacity").value / 100 }),
  };
  const sent = { ...state.sent, options, address: location.origin, key: $("key").value };
  $("curl").textContent = curl(sent);
  $("python").textContent = python(sent);
}

// ---------------------------------------------------------------- controls

async function copy(button) {
  const target = $(button.dataset.copy);
  if (navigator.clipboard) await navigator.clipboard.writeText(target.textContent);
  else { // pages without TLS have no clipboard
    getSelection().selectAllChildren(target);
    document.execCommand("copy");
  }
  say($("copied"), "Copied.");
  button.textContent = "Copied";
  setTimeout(() => {
    button.textContent = "Copy";
    say($("copied"), "");
  }, 1500);
}

function showSliders() {
  $("layer").style.opacity = $("opacity").value / 100;
  $("opacity-value").textContent = `${$("opacity").value} %`;
  $("threshold-value").textContent = ($("threshold").value / 100).toFixed(2);
}

listen(give, (text) => (text ? fail({ text }) : unanswered().then(fail)));
for (const button of document.querySelectorAll("[data-copy]")) button.addEventListener("click", () => copy(button));
$("again").addEventListener("click", send);
$("model").addEventListener("change", () => {
  describeModel();
  send();
});
$("key-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  if (!state.models.length) await loadModels();
  send();
});
$("opacity").addEventListener("input", () => {
  showSliders();
  if (state.answer) showCode();
});
$("threshold").addEventListener("input", () => {
  showSliders();
  refresh();
});
showSliders();
loadModels();
