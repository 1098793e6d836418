// Vectors in two dimensions: the two directions of most variance.

const ROUNDS = 30;

export function dot(a, b) {
  let sum = 0;
  for (let i = 0; i < a.length; i += 1) sum += a[i] * b[i];
  return sum;
}

function centred(vectors) {
  const mean = new Float64Array(vectors[0].length);
  for (const vector of vectors) for (let i = 0; i < mean.length; i += 1) mean[i] += vector[i] / vectors.length;
  return vectors.map((vector) => Float64Array.from(vector, (x, i) => x - mean[i]));
}

// Power iteration on the sample itself: the covariance matrix is never made.
function direction(rows, dimension, before) {
  let axis = Float64Array.from({ length: dimension }, (_, i) => Math.sin(i * 12.9898 + before.length + 1));
  for (let round = 0; round < ROUNDS; round += 1) {
    const next = new Float64Array(dimension);
    for (const row of rows) {
      const along = dot(row, axis);
      for (let i = 0; i < dimension; i += 1) next[i] += along * row[i];
    }
    for (const other of before) {
      const shared = dot(next, other);
      for (let i = 0; i < dimension; i += 1) next[i] -= shared * other[i];
    }
    const length = Math.sqrt(dot(next, next)) || 1;
    axis = next.map((x) => x / length);
  }
  return axis;
}

// Places of the vectors, and which share of all variance the plane shows.
export function plane(vectors) {
  const rows = centred(vectors);
  const axes = [];
  for (let axis = 0; axis < 2; axis += 1) axes.push(direction(rows, rows[0].length, axes));
  const places = rows.map((row) => axes.map((axis) => dot(row, axis)));
  const all = rows.reduce((sum, row) => sum + dot(row, row), 0) || 1;
  const seen = places.reduce((sum, [x, y]) => sum + x * x + y * y, 0);
  return { places, share: seen / all };
}
