// The derivative J of the field at a state, its products, and systems (σI − J) x = b.
//
// J = −M + F Fᵀ where the loss is logarithmic (F Fᵀ from the scale of time), else −M, with M the second derivative of Φ
// over the scale. Features of different samples meet in M only by way of W: with S_i = −∂R_i/∂Z_i [K, K],
//   W, W      λ_W I + Σ_i S_i ⊗ h_i h_iᵀ
//   h_i, h_i  λ_H I + Wᵀ S_i W
//   h_i, W    (Wᵀ S_i)_ak h_ib − R_ik δ_ab, of a and (k, b).
// So samples are eliminated one by one, and what is left is a system for W alone.

class Jacobian {
  // The objective has just been evaluated at y, where the field is `rate` and the decays over the scale of time `units`.
  constructor(objective, y, rate, units, S) {
    Object.assign(this, { objective, y, rate, units, S });
    this.R = Float64Array.from(objective.R);
    this.dZ = new Float64Array(this.R.length);
  }

  // J v into `out`.
  times(v, out) {
    const { objective, y, rate, R, S, dZ, units } = this;
    const { problem: { K, d, N }, split } = objective;
    const change = new Float64Array(K);
    for (let i = 0; i < N; i++) {
      const h = split + i * d;
      for (let k = 0; k < K; k++) change[k] = dot(v, y, d, h, k * d) + dot(y, v, d, h, k * d);
      for (let k = 0; k < K; k++) dZ[i * K + k] = -dot(S, change, K, (i * K + k) * K);
    }
    const along = objective.logarithmic ? dot(rate, v, v.length) : 0;
    for (let e = 0; e < v.length; e++) out[e] = along * rate[e] - units[e < split ? 0 : 1] * v[e];
    for (let i = 0; i < N; i++) {
      addSample(y, dZ, out, i, K, d, split + i * d);
      addSample(v, R, out, i, K, d, split + i * d);
    }
  }

  // Prepares systems with a σ; false where σI − J is not positive.
  factor(sigma) {
    const { objective, y, rate, R, S, units } = this;
    const { problem: { K, d, N }, split } = objective;
    this.roots = new Float64Array(N * d * d);
    this.couplings = new Float64Array(N * d * split);
    const left = (this.left = new Float64Array(split * split));
    for (let e = 0; e < split; e++) left[e * split + e] = sigma + units[0];
    const WS = new Float64Array(d * K);
    for (let i = 0; i < N; i++) {
      const [h, s] = [split + i * d, i * K * K];
      const C = this.roots.subarray(i * d * d, (i + 1) * d * d);
      const B = this.couplings.subarray(i * d * split, (i + 1) * d * split);
      WS.fill(0);
      for (let k = 0; k < K; k++) for (let a = 0; a < d; a++) for (let j = 0; j < K; j++) WS[a * K + k] += y[j * d + a] * S[s + j * K + k];
      for (let a = 0; a < d; a++) {
        for (let b = 0; b <= a; b++) for (let k = 0; k < K; k++) C[a * d + b] += WS[a * K + k] * y[k * d + b];
        C[a * d + a] += sigma + units[1];
        for (let k = 0; k < K; k++) {
          for (let b = 0; b < d; b++) B[a * split + k * d + b] = WS[a * K + k] * y[h + b];
          B[a * split + k * d + a] -= R[i * K + k];
        }
      }
      if (!cholesky(C, d)) return false;
      for (let a = 0; a < d; a++) {
        for (let b = 0; b < a; b++) subtract(B, a * split, B, b * split, C[a * d + b], split);
        for (let e = 0; e < split; e++) B[a * split + e] /= C[a * d + a];
      }
      for (let k = 0; k < K; k++) {
        for (let a = 0; a < d; a++) {
          const row = k * d + a;
          for (let j = 0; j <= k; j++) {
            const factor = S[s + k * K + j] * y[h + a];
            for (let b = 0; b < d; b++) left[row * split + j * d + b] += factor * y[h + b];
          }
          for (let c = 0; c < d; c++) subtract(left, row * split, B, c * split, B[c * split + row], row + 1);
        }
      }
    }
    if (!cholesky(left, split)) return false;
    this.bent = null;
    if (!objective.logarithmic) return true;
    this.bent = this.solveM(rate);
    this.rest = 1 - dot(rate, this.bent, rate.length);
    return this.rest > 0;
  }

  // x of (σI − J) x = b. F Fᵀ by the formula of Sherman and Morrison.
  solve(b) {
    const x = this.solveM(b);
    if (!this.bent) return x;
    const share = dot(this.rate, x, x.length) / this.rest;
    for (let e = 0; e < x.length; e++) x[e] += share * this.bent[e];
    return x;
  }

  solveM(b) {
    const { problem: { d, N }, split } = this.objective;
    const x = Float64Array.from(b);
    for (let i = 0; i < N; i++) {
      const h = split + i * d;
      forward(this.roots, i * d * d, d, x, h);
      for (let a = 0; a < d; a++) subtract(x, 0, this.couplings, (i * d + a) * split, x[h + a], split);
    }
    forward(this.left, 0, split, x, 0);
    backward(this.left, 0, split, x, 0);
    for (let i = 0; i < N; i++) {
      const h = split + i * d;
      for (let a = 0; a < d; a++) x[h + a] -= dot(this.couplings, x, split, (i * d + a) * split, 0);
      backward(this.roots, i * d * d, d, x, h);
    }
    return x;
  }
}

function subtract(to, at, from, start, factor, size) {
  for (let e = 0; e < size; e++) to[at + e] -= factor * from[start + e];
}

// L of A = L Lᵀ into the lower half of A [n, n], which is all that is read; false where A is not positive.
function cholesky(A, n) {
  for (let i = 0; i < n; i++) {
    for (let j = 0; j <= i; j++) {
      const value = A[i * n + j] - dot(A, A, j, i * n, j * n);
      if (j < i) A[i * n + j] = value / A[j * n + j];
      else if (value > 0) A[i * n + i] = Math.sqrt(value);
      else return false;
    }
  }
  return true;
}

// Replace n entries of x by those of L⁻¹ x, and of L⁻ᵀ x.
function forward(L, start, n, x, at) {
  for (let i = 0; i < n; i++) x[at + i] = (x[at + i] - dot(L, x, i, start + i * n, at)) / L[start + i * n + i];
}

function backward(L, start, n, x, at) {
  for (let i = n - 1; i >= 0; i--) {
    x[at + i] /= L[start + i * n + i];
    subtract(x, at, L, start + i * n, x[at + i], i);
  }
}
