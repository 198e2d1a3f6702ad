// Posts the file $BODY at a constant rate of arrival, and prints the figures as one line of JSON.
import http from "k6/http";
import { Counter } from "k6/metrics";

const body = open(__ENV.BODY, "b");
const parameters = { headers: JSON.parse(__ENV.HEADERS), timeout: "30s" };
const wrong = new Counter("wrong");
const clients = 256;

export const options = {
  discardResponseBodies: true,
  summaryTrendStats: ["med", "p(99)"],
  scenarios: {
    arrivals: {
      executor: "constant-arrival-rate",
      // per ten seconds, since a rate is a whole number
      rate: Math.max(1, Math.round(10 * Number(__ENV.RATE))),
      timeUnit: "10s",
      duration: `${__ENV.SECONDS}s`,
      gracefulStop: "30s",
      preAllocatedVUs: clients,
      maxVUs: clients,
    },
  },
};

export default function () {
  if (http.post(__ENV.URL, body, parameters).status !== 200) wrong.add(1);
}

export function handleSummary(data) {
  const value = (name, key) => (data.metrics[name] ? data.metrics[name].values[key] : 0);
  const errors = value("wrong", "count") + value("dropped_iterations", "count");
  const figures = {
    requests: value("iterations", "count") - value("wrong", "count"),
    p50_ms: value("iteration_duration", "med"),
    p99_ms: value("iteration_duration", "p(99)"),
    errors,
  };
  return { stdout: `${JSON.stringify(figures)}\n` };
}
