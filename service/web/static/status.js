// The page on which the service is watched. It reads /metrics and /readyz every two seconds.

import { $, key, library, row, say } from "./dom.js";
import { labels, parse, quantile, total } from "./metrics.js";
import { plot, readable } from "./plots.js";

const PERIOD_MS = 2000, MINUTES = 5, WINDOW_MS = 10_000; // rates are those of the last ten seconds
const DURATION = "twins_request_duration_seconds";
const WORDS = { ready: "Ready", loading: "Loading", failing: "Failing", stopping: "Stopping" };

// `of` returns the values of the lines between two readings that are `seconds` apart.
const PLOTS = [
  { title: "Images answered", unit: "/s", lines: [""], of: (...given) => [rate("twins_images_total", ok, ...given)] },
  { title: "Requests refused or failed", unit: "/s", lines: [""], of: (...given) => [rate("twins_requests_total", (each) => !ok(each), ...given)] },
  { title: "Time of a request", unit: "ms", lines: ["median", "99th percentile"], of: (now, then) => [0.5, 0.99].map((share) => ms(quantile(share, now, then, DURATION, modelled))) },
  { title: "Images in the service", unit: "", lines: ["in flight", "waiting for a model"], of: (now) => [total(now, "twins_in_flight_images"), total(now, "twins_queue_depth")] },
  { title: "Images in a batch", unit: "", lines: ["mean"], of: (now, then) => [ratio(grown("twins_batch_size_sum", yes, now, then), grown("twins_batch_size_count", yes, now, then))] },
  { title: "Workers busy", unit: "%", lines: [""], of: (...given) => [busy(yes, ...given)] },
];
const readings = [], points = []; // readings of the last seconds; points of the last minutes
const listed = { names: "", models: new Map() };
let paused = false;

// ---------------------------------------------------------------- figures

const yes = () => true;
function ok({ code }) { return code === "ok"; }
function modelled({ model }) { return Boolean(model); }
function ms(seconds) { return seconds === null ? null : seconds * 1000; }
function ratio(sum, count) { return count > 0 ? sum / count : null; }

// Return how much a counter has grown, which is nothing if its process was restarted.
function grown(name, matches, now, then) {
  return Math.max(0, total(now, name, matches) - total(then, name, matches));
}

function rate(name, matches, now, then, seconds) {
  return grown(name, matches, now, then) / seconds;
}

// Return the share of the time for which devices of workers ran, in percent.
function busy(matches, now, then, seconds) {
  const workers = now.filter(({ name, labels: each }) => name === "twins_worker_up" && matches(each)).length;
  return workers ? Math.min(100, (100 * rate("twins_worker_busy_seconds_total", matches, now, then, seconds)) / workers) : null;
}

// ---------------------------------------------------------------- reading

// The key stays in this page, as on the page where models are tried.
function headers() {
  return $("key").value ? { Authorization: `Bearer ${$("key").value}` } : {};
}

async function read() {
  if (paused) return;
  try {
    const [metrics, ready] = await Promise.all([fetch("/metrics", { headers: headers() }), fetch("/readyz")]);
    if (!metrics.ok) $("key-form").hidden = false;
    const values = metrics.ok ? parse(await metrics.text()) : [];
    showState(await ready.json(), values);
    add(values);
    await learnModels(values);
    showWorkers();
    showModels();
  } catch {
    showState(null, []);
    points.push({ at: Date.now(), values: PLOTS.map(({ lines }) => lines.map(() => null)) });
  }
  showPlots();
}

function add(values) {
  const at = Date.now();
  readings.push({ at, values });
  while (readings.length > 2 && readings[1].at <= at - WINDOW_MS) readings.shift();
  const [first] = readings;
  if (first.at < at) points.push({ at, values: PLOTS.map(({ of }) => of(values, first.values, (at - first.at) / 1000)) });
  while (points[0]?.at < at - MINUTES * 60_000) points.shift();
}

// Ask for the models again when there are others. The list needs a key if the service does: then only names are shown.
async function learnModels(values) {
  const names = labels(values, "twins_model_load_seconds", "model").join();
  if (names === listed.names) return;
  listed.names = names;
  const answer = await fetch("/models", { headers: headers() });
  listed.models = new Map(answer.ok ? (await answer.json()).models.map((model) => [key(model), model]) : []);
}

// ---------------------------------------------------------------- showing

function showState(answer, values) {
  $("state").classList.toggle("ready", answer?.status === "ready");
  say($("word"), answer ? WORDS[answer.status] : "Not reachable");
  const version = labels(values, "twins_build_info", "version");
  const workers = answer && `${answer.workers.ready} of ${answer.workers.expected} workers ready`;
  say($("facts"), [workers, version.length && `version ${version}`].filter(Boolean).join(" · "));
}

const shown = PLOTS.map((each) => plot(each, MINUTES));
function showPlots() {
  shown.forEach(({ update }, i) => update(points.map(({ at, values }) => ({ at, values: values[i] })), Date.now()));
}

function showWorkers() {
  const [{ at: began, values: then }, { at, values }] = [readings[0], readings.at(-1)];
  $("workers").replaceChildren(...labels(values, "twins_worker_up", "worker").map((worker) => {
    const mine = (each) => each.worker === worker || each.process === worker;
    const share = at > began ? busy(mine, values, then, (at - began) / 1000) : null;
    return row(worker,
      total(values, "twins_worker_up", mine) ? "ready" : "not ready",
      share === null ? "–" : `${readable(share)} %`,
      readable(total(values, "twins_queue_depth", mine)),
      `${readable(total(values, "twins_process_resident_memory_bytes", mine) / 2 ** 20)} MiB`,
      readable(total(values, "twins_process_restarts_total", mine)));
  }));
}

function showModels() {
  const { values } = readings.at(-1);
  const names = labels(values, "twins_model_load_seconds", "model").filter((name) => !listed.models.size || listed.models.has(name));
  $("models").replaceChildren(...names.map((name) => {
    const mine = ({ model }) => model === name;
    const images = (good) => total(values, "twins_images_total", (each) => mine(each) && ok(each) === good);
    const median = ms(quantile(0.5, values, [], DURATION, mine));
    const batch = ratio(total(values, "twins_batch_size_sum", mine), total(values, "twins_batch_size_count", mine));
    const model = listed.models.get(name) ?? {};
    return row(name, model.task ?? "–", library(model), readable(images(true)),
      readable(images(false)), batch === null ? "–" : batch.toFixed(1), median === null ? "–" : `${readable(median)} ms`);
  }));
}

$("plots").append(...shown.map(({ box }) => box));
$("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  listed.names = ""; // the key may allow to list the models as well
  read();
});
$("pause").addEventListener("click", () => {
  paused = !paused;
  $("pause").textContent = paused ? "Go on" : "Pause";
  read();
});
read();
setInterval(read, PERIOD_MS);
