// Gradient descent on Φ beside the flow: y ← y − η ∇Φ(y). Step k is compared with the flow at t = kη.

const MOST_DESCENT_STEPS = 20000;

class Descent {
  constructor(objective, y, rate) {
    Object.assign(this, { objective, rate, steps: 0, diverged: false });
    this.y = Float64Array.from(y);
    this.F = new Float64Array(y.length);
  }

  // Whether steps up to log t can be taken; after that the curve of descent ends.
  reaches(logTime) {
    return !this.diverged && logTime <= Math.log(this.rate * MOST_DESCENT_STEPS);
  }

  // To the step that is nearest to log t, or a part of the way if the deadline comes first: false then.
  advance(logTime, deadline) {
    const goal = Math.round(Math.exp(logTime) / this.rate);
    for (; this.steps < goal && !this.diverged; this.steps++) {
      if (this.steps % 16 === 0 && performance.now() > deadline) return false;
      const logValue = this.objective.field(this.y, this.F);
      const size = this.rate * (this.objective.logarithmic ? Math.exp(logValue) : 1);
      for (let e = 0; e < this.y.length; e++) this.y[e] += size * this.F[e];
      if (!(norm(this.y) < 1e8)) this.diverged = true;
    }
    return true;
  }
}
