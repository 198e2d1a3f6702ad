// Metrics in the Prometheus text format.

// Return a list of {name, labels, value}.
export function parse(text) {
  const found = [];
  for (const [, name, labels, value] of text.matchAll(/^(\w+)(?:\{(.*)\})? (\S+)$/gm)) {
    found.push({ name, labels: Object.fromEntries([...(labels ?? "").matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g)].map(([, key, word]) => [key, word])), value: Number(value) });
  }
  return found;
}

// Return the sum over all series of a metric whose labels match.
export function total(values, name, matches = () => true) {
  return values.reduce((sum, each) => (each.name === name && matches(each.labels) ? sum + each.value : sum), 0);
}

// Return a quantile of what a histogram counted between two readings, or null if that is nothing.
export function quantile(share, now, then, name) {
  const bounds = [...new Set(now.filter((each) => each.name === `${name}_bucket`).map(({ labels }) => labels.le))];
  const upTo = (values, bound) => total(values, `${name}_bucket`, ({ le }) => le === bound);
  const counts = bounds.map((bound) => [bound === "+Inf" ? Infinity : Number(bound), upTo(now, bound) - upTo(then, bound)]).sort(([a], [b]) => a - b);
  const all = counts.at(-1)?.[1] ?? 0;
  if (!all) return null;
  let [below, low] = [0, 0];
  for (const [bound, count] of counts) {
    if (count >= share * all) return bound === Infinity ? low : low + ((bound - low) * (share * all - below)) / Math.max(1, count - below);
    [below, low] = [count, bound];
  }
  return low;
}
