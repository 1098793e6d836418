// The text of /metrics, and rates and quantiles between two readings of it.

// Families by name: { kind, help, samples: [{ name, labels, value }] }.
export function parse(source) {
  const families = new Map();
  const family = (name) => families.get(name) ?? families.set(name, { kind: "unknown", help: "", samples: [] }).get(name);
  for (const line of source.split("\n")) {
    const about = line.match(/^# (TYPE|HELP) (\S+) (.*)$/);
    if (about) family(about[2])[about[1] === "TYPE" ? "kind" : "help"] = about[3];
    const sample = line.match(/^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)$/);
    if (!sample) continue;
    const [, name, labels = "", value] = sample;
    const own = [name, name.replace(/_(total|bucket|sum|count|info)$/, "")].find((one) => families.has(one)) ?? name;
    family(own).samples.push({ name, labels: labelsOf(labels), value: Number(value) });
  }
  return families;
}

function labelsOf(text) {
  const labels = {};
  for (const [, name, value] of text.matchAll(/([a-zA-Z_]\w*)="((?:[^"\\]|\\.)*)"/g)) labels[name] = value;
  return labels;
}

const holds = (sample, wanted) => Object.entries(wanted).every(([name, test]) => test(sample.labels[name]));

// Sum of a family's plain samples, of all labels or those that pass.
export function total(families, name, wanted = {}) {
  const samples = families.get(name)?.samples.filter((s) => !/_(bucket|sum|count)$/.test(s.name) && holds(s, wanted));
  return samples?.length ? samples.reduce((sum, sample) => sum + sample.value, 0) : 0;
}

// Buckets of a histogram, summed over the methods that pass: bounds and how many were at most that.
export function buckets(families, name, wanted = {}) {
  const sums = new Map();
  for (const sample of families.get(name)?.samples ?? []) {
    if (!sample.name.endsWith("_bucket") || !holds(sample, wanted)) continue;
    const bound = sample.labels.le === "+Inf" ? Infinity : Number(sample.labels.le);
    sums.set(bound, (sums.get(bound) || 0) + sample.value);
  }
  return [...sums].sort(([a], [b]) => a - b);
}

// The value that a share of what came between two readings was at most; NaN where nothing came.
export function quantile(now, before, share) {
  const past = new Map(before);
  const grown = now.map(([bound, n]) => [bound, n - (past.get(bound) || 0)]);
  const all = grown.at(-1)?.[1] ?? 0;
  if (all <= 0) return NaN;
  const rank = share * all;
  let [low, below] = [0, 0];
  for (const [bound, n] of grown) {
    if (n >= rank) return bound === Infinity ? low : low + ((bound - low) * (rank - below)) / (n - below || 1);
    [low, below] = [bound, n];
  }
  return low;
}
