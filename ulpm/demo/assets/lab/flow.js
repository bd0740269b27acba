// Gradient flow to any time, in rescaled time: ds = Φ dt, so that dy/ds = −∇ log Φ stays of moderate size.
//
// The clock T = t Φ is carried beside y, dT/ds = 1 − T ‖∇ log Φ‖², and log t = log T − log Φ: no number overflows at
// t = 10^1000. (Squared error is followed in ds = dt, with T = t.) Late in a flow the fastest components relax within
// 1/λ with λ ~ log t. Explicit steps are kept below REACH/λ, where the method follows these components instead of
// letting them float at the tolerance: their number grows like log t. Where that costs more than the long steps of the
// implicit method, those are taken.

// to = from + h Σ_i weights_i rates_i, from 0 if `from` is null.
function combine(from, h, weights, rates, to) {
  if (from) to.set(from);
  else to.fill(0);
  for (let i = 0; i < weights.length; i++) {
    if (weights[i] === 0) continue;
    const [factor, rate] = [h * weights[i], rates[i]];
    for (let e = 0; e < to.length; e++) to[e] += factor * rate[e];
  }
}

// log(1 + log(1 + t)), the scale on which frames are even.
function elapsed(logTime) {
  return logTime === -Infinity ? 0 : Math.log1p(softplus(logTime));
}

const TOLERANCE = 1e-8; // of a step, relative to ‖y‖ and to log t
const REACH = 2;
const PATIENCE = 10; // steps in a row that the other method would do for less, before it takes over
const AT_REST = 1e-10;
// The largest T at a start. A mark that is moved late can make T = t Φ overflow. The next frame is e^40 times later then, so
// that the flow up to it does not depend on when it started.
const LATEST = 1e290;

// What is integrated: y and T.
class RescaledTime {
  constructor(objective, size) {
    Object.assign(this, { objective, size, logarithmic: objective.logarithmic, evaluations: 0 });
  }

  // Everything that is known at y and T; the rate dy/ds is written into `rate`.
  point(y, clock, rate) {
    this.evaluations++;
    const logLoss = this.objective.field(y, rate);
    const clockRate = this.logarithmic ? 1 - clock * dot(rate, rate, this.size) : 1;
    return { y, clock, rate, clockRate, logLoss, logTime: this.logTime(clock, logLoss) };
  }

  logTime(clock, logLoss) {
    return Math.log(clock) - (this.logarithmic ? logLoss : 0);
  }

  jacobian({ y, rate }) {
    return this.objective.jacobian(y, rate);
  }
}

class Flow {
  // From y at log t (−∞ for t = 0).
  constructor(objective, y, logTime = -Infinity, tolerance = TOLERANCE) {
    const system = new RescaledTime(objective, y.length);
    Object.assign(this, { objective, system, tolerance, resting: false, failed: false });
    const from = Float64Array.from(y);
    const logScale = objective.logarithmic ? objective.value(from).total : 0;
    this.before = this.now = system.point(from, Math.min(LATEST, Math.exp(logTime + logScale)), new Float64Array(y.length));
    this.explicit = this.method = this.taken = new DormandPrince(system);
    this.implicit = new Rosenbrock(system);
    this.h = 0.01 / (1 + norm(this.now.rate));
    this.ratio = 1e-4;
    this.doubts = 0; // steps in a row that speak for the other method
    this.known = 0; // the implicit method is not tried again below this λ
  }

  get logTime() {
    return this.now.logTime;
  }

  get evaluations() {
    return this.system.evaluations;
  }

  get done() {
    return this.resting || this.failed;
  }

  // One accepted step, or `failed` or `resting`.
  step() {
    for (let attempt = 0; attempt < 60; attempt++) {
      const found = this.method.attempt(this.now, this.h);
      const ratio = this.errorRatio(found);
      if (ratio <= 1) {
        this.accept(found, ratio);
        return;
      }
      this.h *= Number.isFinite(ratio) ? Math.max(0.1, 0.9 * ratio ** -(1 / this.method.order)) : 0.1;
    }
    this.failed = true;
  }

  // Error of y over tolerance ‖y‖, and that of log t, which is T's over T, over tolerance max(1, log t).
  errorRatio({ end, error, clockError }) {
    if (!end || !Number.isFinite(end.logLoss) || !(end.clock > 0)) return Infinity;
    return Math.max(error / norm(end.y), Math.abs(clockError) / (end.clock * Math.max(1, end.logTime))) / this.tolerance || 0;
  }

  accept(found, ratio) {
    const { end, stiffness } = found;
    const { order } = this.method;
    [this.before, this.now] = [this.now, end];
    this.taken = this.method; // by the last step; the next one may have another
    this.resting = !this.objective.margins && norm(end.rate) <= AT_REST * norm(end.y);
    ratio = Math.max(ratio, 1e-10);
    const damped = ratio ** (-0.85 / order) * Math.max(this.ratio, 1e-4) ** (0.2 / order);
    const next = this.h * Math.max(0.2, Math.min(5, 0.9 * damped));
    this.weigh(stiffness, next, 0.9 * this.h * ratio ** (-1 / order));
    this.ratio = ratio;
  }

  // Chooses the size of the next step and the method that takes it: the other one, once it has been cheaper for some
  // steps in a row. `next` is the size that errors allow, `free` what they would allow if λ had not held steps short.
  weigh(stiffness, next, free) {
    const { explicit, implicit } = this;
    const bound = REACH / stiffness;
    const isExplicit = this.method === explicit;
    const gain = ((isExplicit ? free : next) / bound) * (explicit.cost / implicit.cost);
    const doubtful = isExplicit ? gain > 1 && stiffness > this.known : gain < 1;
    this.doubts = doubtful ? this.doubts + 1 : 0;
    this.h = isExplicit ? Math.min(next, bound) : next;
    if (this.doubts < PATIENCE) return;
    if (!isExplicit) this.known = 2 * stiffness;
    this.method = isExplicit ? implicit : explicit;
    this.h = Math.min(next, bound);
    this.doubts = 0;
  }

  // y at a log t inside the last step (after the end: at the end, for a flow at rest).
  at(logTime) {
    if (logTime >= this.logTime) return Float64Array.from(this.now.y);
    const goal = elapsed(logTime);
    let [low, high] = [0, 1];
    let [under, over] = [elapsed(this.before.logTime) - goal, elapsed(this.logTime) - goal];
    let [theta, side] = [0, 0];
    for (let i = 0; i < 60; i++) {
      theta = (low * over - high * under) / (over - under);
      if (!(theta > low && theta < high)) theta = (low + high) / 2;
      const value = elapsed(this.timeAt(theta)) - goal;
      if (Math.abs(value) <= 1e-11 * goal) break;
      // The Illinois rule: an end that stays counts half.
      if (value < 0) [low, under, over] = [theta, value, side < 0 ? over / 2 : over];
      else [high, over, under] = [theta, value, side > 0 ? under / 2 : under];
      side = Math.sign(value);
    }
    return Float64Array.from(this.taken.inside(theta).y);
  }

  timeAt(theta) {
    const { y, clock } = this.taken.inside(theta);
    return this.system.logTime(clock, this.objective.value(y).total);
  }
}
