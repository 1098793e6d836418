// Vectors in two dimensions so that near ones stay near (t-SNE, van der Maaten and Hinton 2008), from the plane on.
// Distances between groups mean little; what lies together belongs together.

const PERPLEXITY = 30;
const ROUNDS = 350;
const EARLY = 80;
const PUSH = 8;

function squaredDistances(vectors) {
  const n = vectors.length;
  const all = new Float32Array(n * n);
  const rows = vectors.map((vector) => Float32Array.from(vector));
  for (let i = 0; i < n; i += 1) {
    for (let j = i + 1; j < n; j += 1) {
      let sum = 0;
      const [a, b] = [rows[i], rows[j]];
      for (let k = 0; k < a.length; k += 1) sum += (a[k] - b[k]) ** 2;
      all[i * n + j] = all[j * n + i] = sum;
    }
  }
  return all;
}

// How likely each row takes each other one for its neighbour: the width is sought that gives the perplexity.
function affinities(distances, n) {
  const all = new Float32Array(n * n);
  const entropy = Math.log(Math.min(PERPLEXITY, (n - 1) / 3));
  for (let i = 0; i < n; i += 1) {
    const row = distances.subarray(i * n, (i + 1) * n);
    const nearest = row.reduce((least, d, j) => (j !== i && d < least ? d : least), Infinity);
    let [low, high, width] = [0, Infinity, 1 / (row.reduce((sum, d) => sum + d, 0) / n || 1)];
    for (let round = 0; round < 40; round += 1) {
      let [sum, weighed] = [0, 0];
      for (let j = 0; j < n; j += 1) {
        const p = j === i ? 0 : Math.exp(-(row[j] - nearest) * width);
        all[i * n + j] = p;
        sum += p;
        weighed += p * (row[j] - nearest);
      }
      const gap = Math.log(sum) + (width * weighed) / sum - entropy;
      for (let j = 0; j < n; j += 1) all[i * n + j] /= sum;
      if (Math.abs(gap) < 1e-3) break;
      if (gap > 0) [low, width] = [width, high === Infinity ? width * 2 : (width + high) / 2];
      else [high, width] = [width, (width + low) / 2];
    }
  }
  for (let i = 0; i < n; i += 1) {
    for (let j = 0; j < i; j += 1) all[i * n + j] = all[j * n + i] = (all[i * n + j] + all[j * n + i]) / (2 * n);
  }
  return all;
}

// Rounds one by one: each call of `next` gives the places so far, until there are no more.
export function* neighbourhoods(vectors, start) {
  const n = vectors.length;
  const p = affinities(squaredDistances(vectors), n);
  const spread = Math.sqrt(start.reduce((sum, [x, y]) => sum + x * x + y * y, 0) / n) || 1;
  // Equal vectors start apart by a little, or nothing would part them.
  const at = Float64Array.from(start.flatMap(([x, y], i) => [(x / spread) * 0.1 + Math.sin(i) * 1e-4, (y / spread) * 0.1 + Math.cos(i) * 1e-4]));
  const [speed, force, near] = [new Float64Array(2 * n), new Float64Array(2 * n), new Float32Array(n * n)];
  for (let round = 0; round < ROUNDS; round += 1) {
    let total = 0;
    for (let i = 0; i < n; i += 1) {
      for (let j = 0; j < i; j += 1) {
        const q = 1 / (1 + (at[2 * i] - at[2 * j]) ** 2 + (at[2 * i + 1] - at[2 * j + 1]) ** 2);
        near[i * n + j] = q;
        total += 2 * q;
      }
    }
    force.fill(0);
    const more = round < EARLY ? PUSH : 1;
    for (let i = 0; i < n; i += 1) {
      for (let j = 0; j < i; j += 1) {
        const q = near[i * n + j];
        const pull = 4 * (more * p[i * n + j] - q / total) * q;
        const [x, y] = [pull * (at[2 * i] - at[2 * j]), pull * (at[2 * i + 1] - at[2 * j + 1])];
        force[2 * i] += x;
        force[2 * i + 1] += y;
        force[2 * j] -= x;
        force[2 * j + 1] -= y;
      }
    }
    const [kept, rate] = [round < EARLY ? 0.5 : 0.8, Math.max(n / 12, 20)];
    for (let i = 0; i < 2 * n; i += 1) {
      speed[i] = kept * speed[i] - rate * force[i];
      at[i] += speed[i];
    }
    yield { places: Array.from({ length: n }, (_, i) => [at[2 * i], at[2 * i + 1]]), done: (round + 1) / ROUNDS };
  }
}
