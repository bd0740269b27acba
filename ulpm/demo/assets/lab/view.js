// Where a state is seen from, and the shape that theory expects: those of ulpm.geometry and ulpm/demo/view.py.

// Two (K ≤ 3 or d ≤ 2) or three orthonormal axes [p, d] that hold most of the centred rows of W, the last towards w_0.
function principalAxes({ K, d, N }, y) {
  const wanted = K <= 3 || d <= 2 ? 2 : 3;
  const rows = centredRows(y, K, d);
  const { values, vectors } = symmetricEigen(gram(rows, K, d), K);
  const directions = [];
  for (let r = 0; r < Math.min(wanted, K - 1, d) && values[r] > 1e-20 * values[0]; r++) {
    directions.push(product(vectors.subarray(r * K, r * K + K), rows, 1, K, d));
  }
  const features = Array.from({ length: N }, (_, i) => y.subarray((K + i) * d, (K + i + 1) * d));
  const units = Array.from({ length: d }, (_, a) => Float64Array.from({ length: d }, (_, b) => Number(a === b)));
  const basis = orthonormal([...directions, ...features, ...units], wanted);
  // The same space, by axes towards the rows themselves.
  const inside = (v) => basis.reduce((sum, b) => add(sum, b, dot(b, v, d)), new Float64Array(d));
  const towards = Array.from({ length: K }, (_, k) => inside(y.subarray(k * d, k * d + d)));
  const axes = orthonormal([...towards, ...basis], wanted);
  return [...axes.slice(1), axes[0]];
}

function add(a, b, factor) {
  return a.map((x, i) => x + factor * b[i]);
}

// The first `wanted` orthonormal vectors that Gram and Schmidt make of the given ones.
function orthonormal(vectors, wanted) {
  const found = [];
  for (const vector of vectors) {
    if (found.length === wanted) break;
    const size = norm(vector);
    let rest = Float64Array.from(vector, (x) => x / size);
    for (let twice = 0; twice < 2; twice++) for (const b of found) rest = add(rest, b, -dot(rest, b, rest.length));
    if (norm(rest) > 1e-6) found.push(rest.map((x) => x / norm(rest)));
  }
  return found;
}

// The shape at the end, or null where none is known: rows of W and class means [K, r], in coordinates of their own.
function targetShape(settings, { K, d, counts }, objective, y) {
  const balanced = new Set(counts).size === 1;
  if (!objective.margins && (!balanced || !objective.decayed)) return null;
  if (settings.loss === "squared") return d >= K && objective.decayed ? orthogonalFrame(K) : null;
  if (d >= K - 1) return simplexEncoded(counts);
  return balanced && K % 2 === 0 && 2 * d >= K && objective.margins ? orthoplex(K, d, y) : null;
}

function orthogonalFrame(K) {
  const frame = new Float64Array(K * K);
  for (let k = 0; k < K; k++) frame[k * K + k] = 1;
  return { name: "orthogonal frame", rows: frame, means: frame, rank: K };
}

// (I − 11ᵀ/K) diag(√n_k) = U Σ Vᵀ, W = U Σ^{1/2}, h_k = row k of diag(1/√n_k) V Σ^{1/2}: simplex-encoded labels
// (Thrampoulidis, Kini, Vakilian, Behnia, 2022), which for equal counts are the regular simplex.
function simplexEncoded(counts) {
  const K = counts.length;
  const A = Float64Array.from({ length: K * K }, (_, e) => {
    const [j, k] = [Math.floor(e / K), e % K];
    return ((j === k ? 1 : 0) - 1 / K) * Math.sqrt(counts[k]);
  });
  const { values, vectors } = symmetricEigen(gram(A, K, K), K);
  const rank = K - 1;
  const [rows, means] = [new Float64Array(K * rank), new Float64Array(K * rank)];
  for (let r = 0; r < rank; r++) {
    const s = Math.sqrt(values[r]);
    const right = product(vectors.subarray(r * K, r * K + K), A, 1, K, K);
    for (let k = 0; k < K; k++) {
      rows[k * rank + r] = vectors[r * K + k] * Math.sqrt(s);
      means[k * rank + r] = (right[k] / s) * Math.sqrt(s) / Math.sqrt(counts[k]);
    }
  }
  return { name: new Set(counts).size === 1 ? "regular simplex" : "shape of largest margin", rows, means, rank };
}

// Opposite pairs on K/2 orthogonal axes, paired as the rows of W are: the most opposite pair first.
function orthoplex(K, d, y) {
  const size = lengths(y, K, d);
  const left = new Set(Array.from({ length: K }, (_, k) => k));
  const rows = new Float64Array((K * K) / 2);
  for (let axis = 0; axis < K / 2; axis++) {
    let best = [Infinity];
    for (const j of left) for (const k of left) {
      if (j < k) best = [[dot(y, y, d, j * d, k * d) / (size[j] * size[k]), j, k], best].sort((a, b) => a[0] - b[0])[0];
    }
    rows[(best[1] * K) / 2 + axis] = 1;
    rows[(best[2] * K) / 2 + axis] = -1;
    left.delete(best[1]);
    left.delete(best[2]);
  }
  return { name: "best known shape", rows, means: rows, rank: K / 2 };
}

// The shape turned to fit the rows of W at y, on the axes of the view and in its units, with the pairs to be joined.
function targetInView(settings, problem, objective, y, axes) {
  const shape = targetShape(settings, problem, objective, y);
  if (!shape) return null;
  const { K, d, N, counts } = problem;
  const { rank } = shape;
  const overlap = product(transpose(shape.rows, K, rank), y.subarray(0, K * d), rank, K, d);
  const turn = polarFactor(overlap, rank, d);
  const [rowNorm, meanNorm] = [norm(shape.rows) ** 2, shape.means.reduce((sum, x, e) => sum + counts[Math.floor(e / rank)] * x * x, 0)];
  // Balanced factors: half of ρ² is the classifier's, half the features'.
  const onAxes = (points, unit) =>
    Array.from({ length: K }, (_, k) => {
      const point = product(points.subarray(k * rank, (k + 1) * rank), turn, 1, rank, d);
      return axes.map((axis) => unit * dot(axis, point, d));
    });
  const edges = allPairs(K).filter(([j, k]) => {
    const size = lengths(shape.means, K, rank);
    return dot(shape.means, shape.means, rank, j * rank, k * rank) / (size[j] * size[k]) > -1 + 1e-6;
  });
  return {
    name: shape.name,
    rows: onAxes(shape.rows, Math.sqrt(K / rowNorm)),
    means: onAxes(shape.means, Math.sqrt(N / meanNorm)),
    edges,
  };
}

// What rows and features are multiplied by: √(2K)/ρ and √(2N)/ρ, ρ² = ‖W‖² + ‖H‖², as the flow makes the two norms equal.
// Where decays differ it does not, and these are √K/‖W‖ and √N/‖H‖.
function lengthUnits(objective, y) {
  const { problem: { K, N }, decays } = objective;
  const [ofRows, ofFeatures] = objective.squares(y);
  if (decays[0] !== decays[1]) return [Math.sqrt(K / ofRows), Math.sqrt(N / ofFeatures)];
  return [Math.sqrt((2 * K) / (ofRows + ofFeatures)), Math.sqrt((2 * N) / (ofRows + ofFeatures))];
}

// What the scene shows of y: rows, class means and the first features of each class, on the axes.
const MOST_FEATURES = 160;
const MOST_OF_A_CLASS = 24;

function shownSamples({ K, counts }) {
  const most = Math.min(MOST_OF_A_CLASS, Math.max(1, Math.floor(MOST_FEATURES / K)));
  const shown = [];
  let first = 0;
  for (const count of counts) {
    for (let i = 0; i < Math.min(count, most); i++) shown.push(first + i);
    first += count;
  }
  return shown;
}

function marksOf(objective, y, axes, shown) {
  const { problem } = objective;
  const { K, d } = problem;
  const [ofRows, ofFeatures] = lengthUnits(objective, y);
  const place = (from, at, unit) => axes.map((axis) => unit * dot(axis, from, d, 0, at));
  const { means } = classMeans(problem, y);
  return {
    rows: Array.from({ length: K }, (_, k) => place(y, k * d, ofRows)),
    means: Array.from({ length: K }, (_, k) => place(means, k * d, ofFeatures)),
    features: shown.map((i) => place(y, (K + i) * d, ofFeatures)),
  };
}
