// What a setting minimises, Φ = L(W H) + ½λ_W‖W‖² + ½λ_H‖H‖², and the vector field of its flow.

// The field F at y = (W, H) is −∇ log Φ, or −∇Φ where the loss is not logarithmic: ds = Φ dt, or ds = dt.
class Objective {
  // Both decays are 0, or both are positive.
  constructor(problem, lossName, strength, decays) {
    this.problem = problem;
    this.kind = LOSSES[lossName];
    this.loss = this.kind.at(strength);
    this.decays = decays;
    this.decayed = decays[0] > 0;
    this.flat = this.kind.flat ? this.kind.flat(strength, problem.K) : 0;
    this.logarithmic = this.kind.logarithmic;
    // Whether margins grow for ever; else the flow comes to rest.
    this.margins = this.kind.margins && !this.decayed;
    this.split = problem.K * problem.d;
    this.Z = new Float64Array(problem.N * problem.K);
    this.R = new Float64Array(problem.N * problem.K);
    this.bends = new Float64Array(problem.N);
    this.logLoss = NaN;
  }

  // log Φ at y, with F written into `out` [(K + N) d].
  field(y, out) {
    const { K, d, N } = this.problem;
    const { R, split } = this;
    const { total, units } = this.value(y);
    for (let e = 0; e < split; e++) out[e] = -units[0] * y[e];
    for (let e = split; e < y.length; e++) out[e] = -units[1] * y[e];
    for (let i = 0; i < N; i++) addSample(y, R, out, i, K, d, split + i * d);
    return total;
  }

  // log Φ at y, and λ_W and λ_H over the scale of time; leaves Z and R, over the scale of time, too.
  value(y) {
    this.logits(y);
    this.logLoss = this.loss(this.Z, this.problem, this.R, this.bends);
    if (!this.decayed) return { total: this.logLoss, units: this.decays };
    const [ofRows, ofFeatures] = this.squares(y);
    const total = logSum([this.logLoss, Math.log((this.decays[0] * ofRows + this.decays[1] * ofFeatures) / 2)]);
    if (!this.logarithmic) return { total, units: this.decays };
    const share = Math.exp(this.logLoss - total);
    for (let e = 0; e < this.R.length; e++) this.R[e] *= share;
    return { total, units: this.decays.map((decay) => decay * Math.exp(-total)) };
  }

  // The derivative of the field at y, where the field is `rate`.
  jacobian(y, rate) {
    const { total, units } = this.value(y);
    return new Jacobian(this, y, rate, units, this.curvature(total));
  }

  // S_i = −∂R_i/∂Z_i at a fixed scale of time, for all samples [N, K, K], where the value was taken last: `total`.
  curvature(total) {
    const { K, N, labels } = this.problem;
    const S = new Float64Array(N * K * K);
    const flat = this.flat === 0 ? 0 : this.flat * Math.exp(-total);
    for (let i = 0; i < N; i++) {
      this.kind.curvature(this.R.subarray(i * K, i * K + K), labels[i], this.bends[i], flat, S.subarray(i * K * K, (i + 1) * K * K));
    }
    return S;
  }

  // ‖W‖² and ‖H‖².
  squares(y) {
    const features = y.length - this.split;
    return [dot(y, y, this.split), dot(y, y, features, this.split, this.split)];
  }

  logits(y) {
    const { K, d, N } = this.problem;
    for (let i = 0; i < N; i++) scoreSample(y, this.Z, i, K, d, this.split + i * d);
  }

  // min over i and j ≠ y_i of Z_iy − Z_ij.
  margin(y) {
    const { K, N, labels } = this.problem;
    this.logits(y);
    let least = Infinity;
    for (let i = 0; i < N; i++) {
      for (let j = 0; j < K; j++) {
        if (j !== labels[i]) least = Math.min(least, this.Z[i * K + labels[i]] - this.Z[i * K + j]);
      }
    }
    return least;
  }
}

// Z_ik = ⟨h_i, w_k⟩, four classes at a time.
function scoreSample(y, Z, i, K, d, h) {
  let k = 0;
  for (; k + 3 < K; k += 4) {
    const [w, v, u, t] = [k * d, (k + 1) * d, (k + 2) * d, (k + 3) * d];
    let [p, q, r, s] = [0, 0, 0, 0];
    for (let a = 0; a < d; a++) {
      const x = y[h + a];
      p += x * y[w + a];
      q += x * y[v + a];
      r += x * y[u + a];
      s += x * y[t + a];
    }
    Z[i * K + k] = p;
    Z[i * K + k + 1] = q;
    Z[i * K + k + 2] = r;
    Z[i * K + k + 3] = s;
  }
  for (; k < K; k++) Z[i * K + k] = dot(y, y, d, h, k * d);
}

// Adds R_ik h_i to row k of dW, and Σ_k R_ik w_k to h_i's place; four classes at a time, which halves the time.
function addSample(y, R, out, i, K, d, h) {
  let k = 0;
  for (; k + 3 < K; k += 4) {
    const [p, q, r, s] = [R[i * K + k], R[i * K + k + 1], R[i * K + k + 2], R[i * K + k + 3]];
    const [w, v, u, t] = [k * d, (k + 1) * d, (k + 2) * d, (k + 3) * d];
    for (let a = 0; a < d; a++) {
      const x = y[h + a];
      out[w + a] += p * x;
      out[v + a] += q * x;
      out[u + a] += r * x;
      out[t + a] += s * x;
      out[h + a] += p * y[w + a] + q * y[v + a] + (r * y[u + a] + s * y[t + a]);
    }
  }
  for (; k < K; k++) {
    const [r, w] = [R[i * K + k], k * d];
    for (let a = 0; a < d; a++) {
      out[w + a] += r * y[h + a];
      out[h + a] += r * y[w + a];
    }
  }
}
