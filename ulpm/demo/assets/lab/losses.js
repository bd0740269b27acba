// Losses of logits, in numbers that survive any size of the loss.
//
// at(Z, problem, R, bends) takes logits Z [N, K] and writes the residual −∂L/∂Z over e^logScale into R [N, K]; it
// returns log L, a sum over samples. Where `logarithmic`, logScale is log L, else 0. Where a loss bends with the
// log-odds of a sample, it writes φ″/φ′ − 1 into bends [N], from which oddsTangent makes the change of R.

function softplus(x) {
  return x > 0 ? x + Math.log1p(Math.exp(-x)) : Math.log1p(Math.exp(x));
}

function sigmoid(x) {
  return x > 0 ? 1 / (1 + Math.exp(-x)) : Math.exp(x) / (1 + Math.exp(x));
}

function logSum(values) {
  let top = -Infinity;
  for (const value of values) if (value > top) top = value;
  if (top === -Infinity) return top;
  let sum = 0;
  for (const value of values) sum += Math.exp(value - top);
  return top + Math.log(sum);
}

// Below, e^x is nothing beside 1: log(1 + e^x) and σ(x) are e^x.
const SMALL = -37;

// A loss φ(x_i) of the log-odds x_i = log Σ_{j≠y} e^{a_ij}, from the gaps a_ij = Z_ij − Z_iy. profile(x) returns
// [log φ, φ′/φ, φ″/φ′ − 1]. Off the label, R_ij = −(φ_i/L)(φ′/φ) e^{a_ij − x_i}, and the rows of R sum to 0.
function logOddsLoss(profile) {
  return (Z, { K, N, labels }, R, bends) => {
    const logs = new Float64Array(N);
    const slopes = new Float64Array(N);
    for (let i = 0; i < N; i++) {
      const x = logOdds(Z, K, i, labels[i], R);
      [logs[i], slopes[i], bends[i]] = profile(x);
    }
    const logLoss = logSum(logs);
    for (let i = 0; i < N; i++) {
      const share = Math.exp(logs[i] - logLoss) * slopes[i];
      let sum = 0;
      for (let j = 0; j < K; j++) sum += R[i * K + j] *= -share;
      R[i * K + labels[i]] = -sum;
    }
    return logLoss;
  };
}

// x_i, and e^{a_ij − x_i} in row i of R, 0 at the label.
function logOdds(Z, K, i, label, R) {
  const row = i * K;
  let top = -Infinity;
  for (let j = 0; j < K; j++) if (j !== label && Z[row + j] > top) top = Z[row + j];
  let sum = 0;
  for (let j = 0; j < K; j++) sum += R[row + j] = j === label ? 0 : Math.exp(Z[row + j] - top);
  for (let j = 0; j < K; j++) R[row + j] /= sum;
  return Math.log(sum) + top - Z[row + label];
}

function crossEntropyProfile(x) {
  if (x < SMALL) return [x, 1, 0];
  const value = softplus(x);
  return [Math.log(value), sigmoid(x) / value, -sigmoid(x)];
}

// φ = σ(x)^γ log(1 + e^x) (Lin, Goyal, Girshick, He, Dollár, 2017).
function focalProfile(gamma) {
  return (x) => {
    const [log, ratio] = crossEntropyProfile(x);
    const [right, wrong] = [sigmoid(-x), sigmoid(x)];
    const slope = ratio + gamma * right;
    // (φ′/φ)′/(φ′/φ) + φ′/φ − 1.
    const change = ratio * (right - ratio) - gamma * right * wrong;
    return [log + gamma * (x - softplus(x)), slope, change / slope + slope - 1];
  };
}

// log(1 + e^x) − (α/K) Σ_j a_j (Szegedy, Vanhoucke, Ioffe, Shlens, Wojna, 2016), with R_ij = (α/K − p_ij)/L.
function smoothedLoss(alpha) {
  return (Z, { K, N, labels }, R, bends) => {
    let loss = 0;
    for (let i = 0; i < N; i++) {
      const x = logOdds(Z, K, i, labels[i], R);
      const wrong = sigmoid(x);
      let gaps = 0;
      for (let j = 0; j < K; j++) {
        gaps += Z[i * K + j] - Z[i * K + labels[i]];
        R[i * K + j] = j === labels[i] ? 0 : alpha / K - wrong * R[i * K + j];
      }
      loss += softplus(x) - (alpha / K) * gaps;
      bends[i] = -wrong;
    }
    for (let i = 0; i < N; i++) {
      let sum = 0;
      for (let j = 0; j < K; j++) sum += R[i * K + j] /= loss;
      R[i * K + labels[i]] = -sum;
    }
    return Math.log(loss);
  };
}

// ½ Σ_i ‖z_i − e_{y_i}‖², with R = Y − Z.
function squaredError(Z, { K, N, labels }, R) {
  let sum = 0;
  for (let i = 0; i < N; i++) {
    for (let j = 0; j < K; j++) {
      const r = (j === labels[i] ? 1 : 0) - Z[i * K + j];
      R[i * K + j] = r;
      sum += r * r;
    }
  }
  return Math.log(sum / 2);
}

// S = −∂R_i/∂Z_i [K, K] of a sample, symmetric with rows that sum to 0: S_jl = −q_j (δ_jl + b q_l/Σq) off the label, where
// q is the sample's R without the constant `flat` and b its bend.
function oddsCurvature(R, label, bend, flat, S) {
  const K = R.length;
  let sum = 0;
  for (let j = 0; j < K; j++) if (j !== label) sum += R[j] - flat;
  for (let j = 0; j < K; j++) {
    if (j === label || sum === 0) continue;
    const q = R[j] - flat;
    for (let l = 0; l < K; l++) if (l !== label) S[j * K + l] = -bend * q * ((R[l] - flat) / sum);
    S[j * K + j] -= q;
    // Of the row: −q (1 + b).
    S[j * K + label] = S[label * K + j] = q * (1 + bend);
    S[label * K + label] -= q * (1 + bend);
  }
}

function identity(R, label, bend, flat, S) {
  for (let k = 0; k < R.length; k++) S[k * R.length + k] = 1;
}

// `strength` names the loss's own number, with its range and what it is at first; `margins`: whether margins grow for
// ever, so that the flow is one of the margin problem.
const LOSSES = {
  "cross-entropy": { title: "cross-entropy", at: () => logOddsLoss(crossEntropyProfile), curvature: oddsCurvature, logarithmic: true, margins: true },
  smoothed: {
    title: "label smoothing",
    at: smoothedLoss,
    curvature: oddsCurvature,
    flat: (alpha, K) => alpha / K,
    logarithmic: true,
    margins: false,
    strength: { name: "smoothing α", from: 0.02, to: 0.5, step: 0.02, first: 0.1 },
  },
  focal: {
    title: "focal loss",
    at: (gamma) => logOddsLoss(focalProfile(gamma)),
    curvature: oddsCurvature,
    logarithmic: true,
    margins: true,
    strength: { name: "focusing γ", from: 0.5, to: 5, step: 0.5, first: 2 },
  },
  squared: { title: "squared error", at: () => squaredError, curvature: identity, logarithmic: false, margins: false },
};
