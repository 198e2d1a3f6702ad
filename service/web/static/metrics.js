// Metrics in the Prometheus text format.

// Return a list of {name, labels, value}.
export function parse(text) {
  const samples = text.matchAll(/^(\w+)(?:\{(.*)\})? (\S+)$/gm);
  return [...samples].map(([, name, labels, value]) => ({ name, labels: labelsOf(labels ?? ""), value: Number(value) }));
}

function labelsOf(text) {
  return Object.fromEntries([...text.matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g)].map(([, key, value]) => [key, value]));
}

// Return the sum over all series of a metric whose labels match.
export function total(values, name, matches = () => true) {
  return values.reduce((sum, each) => (each.name === name && matches(each.labels) ? sum + each.value : sum), 0);
}

// Return the values that a label has in a metric, sorted.
export function labels(values, name, label) {
  return [...new Set(values.filter((each) => each.name === name).map((each) => each.labels[label]))].filter(Boolean).sort();
}

// Return a quantile of what a histogram counted between two readings, or null if that is nothing.
export function quantile(share, now, then, name, matches = () => true) {
  const bounds = labels(now, `${name}_bucket`, "le");
  const upTo = (values, bound) => total(values, `${name}_bucket`, (each) => each.le === bound && matches(each));
  const counts = bounds
    .map((bound) => [bound === "+Inf" ? Infinity : Number(bound), upTo(now, bound) - upTo(then, bound)])
    .sort(([a], [b]) => a - b);
  const all = counts.at(-1)?.[1] ?? 0;
  if (all <= 0) return null;
  let [below, low] = [0, 0];
  for (const [bound, count] of counts) {
    if (count >= share * all) return bound === Infinity ? low : low + ((bound - low) * (share * all - below)) / Math.max(1, count - below);
    [below, low] = [count, bound];
  }
  return low;
}
