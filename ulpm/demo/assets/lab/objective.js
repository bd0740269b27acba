// What a setting minimises, Φ = L(W H) + ½λ(‖W‖² + ‖H‖²), and the vector field of its flow.

// The field F at y = (W, H) is −∇ log Φ, or −∇Φ where the loss is not logarithmic: ds = Φ dt, or ds = dt.
class Objective {
  constructor(problem, lossName, strength, decay) {
    this.problem = problem;
    this.kind = LOSSES[lossName];
    this.loss = this.kind.at(strength);
    this.decay = decay;
    this.logarithmic = this.kind.logarithmic;
    // Whether margins grow for ever; else the flow comes to rest.
    this.margins = this.kind.margins && decay === 0;
    this.split = problem.K * problem.d;
    this.Z = new Float64Array(problem.N * problem.K);
    this.R = new Float64Array(problem.N * problem.K);
    this.logLoss = NaN;
  }

  // log Φ at y, with F written into `out` [(K + N) d].
  field(y, out) {
    const { K, d, N } = this.problem;
    const { R, split } = this;
    const [total, unit] = this.value(y);
    for (let e = 0; e < y.length; e++) out[e] = -unit * y[e];
    for (let i = 0; i < N; i++) {
      const h = split + i * d;
      for (let k = 0; k < K; k++) {
        const r = R[i * K + k];
        const w = k * d;
        for (let a = 0; a < d; a++) out[w + a] += r * y[h + a];
        for (let a = 0; a < d; a++) out[h + a] += r * y[w + a];
      }
    }
    return total;
  }

  // log Φ at y, and λ over the scale of time; leaves Z and R, over the scale of time, too.
  value(y) {
    this.logits(y);
    this.logLoss = this.loss(this.Z, this.problem, this.R);
    if (this.decay === 0) return [this.logLoss, 0];
    const penalty = Math.log((this.decay / 2) * dot(y, y, y.length));
    const total = logSum([this.logLoss, penalty]);
    if (!this.logarithmic) return [total, this.decay];
    const share = Math.exp(this.logLoss - total);
    for (let e = 0; e < this.R.length; e++) this.R[e] *= share;
    return [total, this.decay * Math.exp(-total)];
  }

  logits(y) {
    const { K, d, N } = this.problem;
    for (let i = 0; i < N; i++) {
      for (let k = 0; k < K; k++) this.Z[i * K + k] = dot(y, y, d, this.split + i * d, k * d);
    }
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
