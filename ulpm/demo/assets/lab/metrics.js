// How far a state is from neural collapse, and what it proves: the formulas of ulpm.neural_collapse and ulpm.certify.

// μ_k [K, d], the features' deviations h_i − μ_{y_i} [N, d], and M = μ_k − μ_G [K, d] with μ_G the mean of the μ_k.
function classMeans(problem, y) {
  const { K, d, N, counts, labels } = problem;
  const H = K * d;
  const means = new Float64Array(K * d);
  for (let i = 0; i < N; i++) for (let a = 0; a < d; a++) means[labels[i] * d + a] += y[H + i * d + a] / counts[labels[i]];
  const deviations = new Float64Array(N * d);
  for (let i = 0; i < N; i++) for (let a = 0; a < d; a++) deviations[i * d + a] = y[H + i * d + a] - means[labels[i] * d + a];
  return { means, deviations, centred: centredRows(means, K, d) };
}

function centredRows(rows, K, d) {
  const centred = Float64Array.from(rows.subarray(0, K * d));
  for (let a = 0; a < d; a++) {
    let mean = 0;
    for (let k = 0; k < K; k++) mean += rows[k * d + a] / K;
    for (let k = 0; k < K; k++) centred[k * d + a] -= mean;
  }
  return centred;
}

function lengths(rows, K, d) {
  return Array.from({ length: K }, (_, k) => Math.sqrt(dot(rows, rows, d, k * d, k * d)));
}

// The metrics of y by the names that ulpm.neural_collapse gives them.
function collapseMetrics(problem, y) {
  const { K, d } = problem;
  const { deviations, centred, means } = classMeans(problem, y);
  const rows = centredRows(y, K, d);
  return {
    nc0: norm(columnSums(y, K, d)) / norm(y.subarray(0, K * d)),
    nc1_pinv: pinvTrace(problem, centred, deviations),
    nc1_distance: distanceRatio(problem, means, deviations),
    nc2_norm_means: variation(lengths(centred, K, d)),
    nc2_angle_means: angleDeviation(centred, K, d),
    nc2_angle_classifier_centered: angleDeviation(rows, K, d),
    nc3_duality: duality(centred, rows, K, d),
  };
}

function columnSums(rows, K, d) {
  const sums = new Float64Array(d);
  for (let k = 0; k < K; k++) for (let a = 0; a < d; a++) sums[a] += rows[k * d + a];
  return sums;
}

// tr(Σ_W Σ_B†)/K = Σ_r u_rᵀ Σ_W u_r / s_r², over the min(K − 1, d) singular values s_r of M and their directions u_r.
function pinvTrace({ K, d, N }, centred, deviations) {
  const { values, vectors } = symmetricEigen(gram(centred, K, d), K);
  let trace = 0;
  for (let r = 0; r < Math.min(K - 1, d); r++) {
    if (!(values[r] > 1e-24 * values[0])) break;
    const direction = product(vectors.subarray(r * K, r * K + K), centred, 1, K, d);
    let along = 0;
    for (let i = 0; i < N; i++) along += dot(deviations, direction, d, i * d) ** 2;
    trace += along / N / values[r] ** 2;
  }
  return trace;
}

// Mean ‖h_i − μ_{y_i}‖ over mean ‖h_i − h̄‖.
function distanceRatio({ K, d, N, counts, labels }, means, deviations) {
  const centre = new Float64Array(d);
  for (let k = 0; k < K; k++) for (let a = 0; a < d; a++) centre[a] += (counts[k] / N) * means[k * d + a];
  let [within, all] = [0, 0];
  for (let i = 0; i < N; i++) {
    let [near, far] = [0, 0];
    for (let a = 0; a < d; a++) {
      const deviation = deviations[i * d + a];
      near += deviation ** 2;
      far += (deviation + (means[labels[i] * d + a] - centre[a])) ** 2;
    }
    within += Math.sqrt(near);
    all += Math.sqrt(far);
  }
  return within / all;
}

// Standard deviation (with K − 1) over mean.
function variation(values) {
  const mean = values.reduce((sum, x) => sum + x, 0) / values.length;
  return Math.sqrt(values.reduce((sum, x) => sum + (x - mean) ** 2, 0) / (values.length - 1)) / mean;
}

// Mean over j ≠ k of |cos + 1/(K − 1)|.
function angleDeviation(rows, K, d) {
  const size = lengths(rows, K, d);
  let sum = 0;
  for (let j = 0; j < K; j++) {
    for (let k = 0; k < j; k++) sum += Math.abs(dot(rows, rows, d, j * d, k * d) / (size[j] * size[k]) + 1 / (K - 1));
  }
  return (2 * sum) / (K * (K - 1));
}

// Mean over k of ‖m_k/‖m_k‖ − w̄_k/‖w̄_k‖‖.
function duality(means, rows, K, d) {
  const [ofMeans, ofRows] = [lengths(means, K, d), lengths(rows, K, d)];
  let sum = 0;
  for (let k = 0; k < K; k++) {
    let square = 0;
    for (let a = 0; a < d; a++) square += (means[k * d + a] / ofMeans[k] - rows[k * d + a] / ofRows[k]) ** 2;
    sum += Math.sqrt(square);
  }
  return sum / K;
}

// Bounds of the optimum v* that a state proves where margins grow for ever: Σ_i R_iy / ‖R‖_op, and ‖Z‖_* / q_min once
// all margins are positive. The field must have been evaluated at y, which leaves Z and R.
function provenBounds(objective, y) {
  const { K, N, labels } = objective.problem;
  const singular = (A) => {
    const G = gram(transpose(A, N, K), K, N);
    return symmetricEigen(G, K).values.map((value) => Math.sqrt(Math.max(0, value)));
  };
  let total = 0;
  for (let i = 0; i < N; i++) total += objective.R[i * K + labels[i]];
  const largest = singular(objective.R)[0];
  const margin = objective.margin(y);
  const rank = Math.min(objective.problem.d, K);
  const nuclear = singular(objective.Z).slice(0, rank).reduce((sum, s) => sum + s, 0);
  return { lower: total / largest, upper: margin > 0 ? nuclear / margin : Infinity, margin };
}
