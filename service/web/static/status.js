// The page on which the service is watched. It reads /metrics and /readyz every two seconds.

import { parse, quantile, total } from "./metrics.js";

const $ = (id) => document.getElementById(id);
const PERIOD_MS = 2000, KEPT = 150;

const history = [];

const PLOTS = [
  { title: "Images a second", unit: "", of: (now, then, s) => rate("twins_images_total", now, then, s, ({ code }) => code === "ok") },
  { title: "Refused or failed a second", unit: "", of: (now, then, s) => rate("twins_requests_total", now, then, s, ({ code }) => code !== "ok") },
  { title: "Median time of a request", unit: "ms", of: (now, then) => ms(quantile(0.5, now, then, "twins_request_duration_seconds")) },
  { title: "99th percentile", unit: "ms", of: (now, then) => ms(quantile(0.99, now, then, "twins_request_duration_seconds")) },
  { title: "Images in flight", unit: "", of: (now) => total(now, "twins_in_flight_images") },
  { title: "Images waiting for the device", unit: "", of: (now) => total(now, "twins_queue_depth") },
];

function rate(name, now, then, seconds, matches) {
  return (total(now, name, matches) - total(then, name, matches)) / seconds;
}

function ms(seconds) {
  return seconds === null ? null : seconds * 1000;
}

async function read() {
  try {
    const [metrics, ready] = await Promise.all([fetch("/metrics"), fetch("/readyz")]);
    showState(await ready.json());
    history.push({ at: performance.now(), values: parse(await metrics.text()) });
    if (history.length > KEPT) history.shift();
    showPlots();
    showModels(history.at(-1).values);
  } catch {
    showState(null);
  }
}

function showState(answer) {
  $("state").textContent = answer ? { ready: "Ready", loading: "Loading", stopping: "Stopping" }[answer.status] : "Not reachable";
  $("state").classList.toggle("bad", answer?.status !== "ready");
  $("workers").textContent = answer ? `${answer.workers.ready} of ${answer.workers.expected} workers are ready.` : "";
}

function showPlots() {
  PLOTS.forEach(({ of, unit }, i) => {
    const points = history.slice(1).map((each, k) => of(each.values, history[k].values, (each.at - history[k].at) / 1000));
    const [now, line] = [$(`now-${i}`), $(`line-${i}`)];
    const last = points.findLast((point) => point !== null);
    now.textContent = last === undefined ? "–" : `${last.toPrecision(3).replace(/\.?0+$/, "")} ${unit}`;
    const most = Math.max(1e-9, ...points.filter((point) => point !== null));
    line.setAttribute("points", points.map((point, k) => `${KEPT - points.length + k},${40 - (38 * (point ?? 0)) / most}`).join(" "));
  });
}

function showModels(values) {
  const names = [...new Set(values.filter(({ name, labels }) => name === "twins_batch_size_count" && labels.model).map(({ labels }) => labels.model))];
  $("models").replaceChildren(...names.map((name) => {
    const row = document.createElement("tr");
    const of = (metric, matches = () => true) => total(values, metric, (labels) => labels.model === name && matches(labels));
    const batches = of("twins_batch_size_count");
    const images = of("twins_images_total", ({ code }) => code === "ok");
    const errors = of("twins_images_total", ({ code }) => code !== "ok");
    const head = document.createElement("th");
    head.scope = "row";
    head.textContent = name;
    row.append(head);
    for (const text of [images, errors, batches ? (of("twins_batch_size_sum") / batches).toFixed(1) : "–"]) row.insertCell().textContent = text;
    return row;
  }));
}

function addPlot({ title }, i) {
  const plot = document.createElement("div");
  plot.className = "plot";
  plot.innerHTML = `<h2 id="plot-${i}">${title}</h2><div class="now" id="now-${i}" aria-labelledby="plot-${i}">–</div>`
    + `<svg viewBox="0 0 ${KEPT} 40" preserveAspectRatio="none" aria-hidden="true"><polyline id="line-${i}" points=""/></svg>`;
  $("plots").append(plot);
}

PLOTS.forEach(addPlot);
read();
setInterval(read, PERIOD_MS);
