// Gradient flow to any time, in rescaled time: ds = Φ dt, so that dy/ds = −∇ log Φ stays of moderate size.
//
// The clock T = t Φ is carried beside y, dT/ds = 1 − T ‖∇ log Φ‖², and log t = log T − log Φ: no number overflows at
// t = 10^1000. (Squared error is followed in ds = dt, with T = t.) Steps are those of Dormand and Prince, "A family of
// embedded Runge-Kutta formulae", 1980, with their error estimate, and between them the continuous extension of Hairer,
// Nørsett and Wanner, "Solving Ordinary Differential Equations I", 1993, section II.6. Late in a flow the fastest
// components relax within 1/λ with λ ~ log t. Steps are kept below REACH/λ, where the method follows these components
// instead of letting them float at the tolerance. The number of steps then grows like log t.

const STAGES = [
  [],
  [1 / 5],
  [3 / 40, 9 / 40],
  [44 / 45, -56 / 15, 32 / 9],
  [19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729],
  [9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656],
  [35 / 384, 0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84],
];
const ERROR = [71 / 57600, 0, -71 / 16695, 71 / 1920, -17253 / 339200, 22 / 525, -1 / 40];
const DENSE = [
  -12715105075 / 11282082432, 0, 87487479700 / 32700410799, -10690763975 / 1880347072,
  701980252875 / 199316789632, -1453857185 / 822651844, 69997945 / 29380423,
];
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

const TOLERANCE = 1e-8; // of a step, relative to ‖y‖ and to T
const REACH = 2;
const AT_REST = 1e-10;

class Flow {
  // From y at log t (−∞ for t = 0).
  constructor(objective, y, logTime = -Infinity, tolerance = TOLERANCE) {
    Object.assign(this, { objective, tolerance, size: y.length, steps: 0, evaluations: 0, resting: false, failed: false });
    this.rates = Array.from({ length: 7 }, () => new Float64Array(y.length));
    this.clockRates = new Float64Array(7);
    this.before = Float64Array.from(y);
    this.now = Float64Array.from(y);
    this.trial = new Float64Array(y.length);
    this.sixth = new Float64Array(y.length);
    this.reading = new Float64Array(y.length);
    this.logLoss = this.rate(0, this.now, 0);
    this.clock = objective.logarithmic ? Math.exp(logTime + this.logLoss) : Math.exp(logTime);
    this.rate(0, this.now, this.clock);
    this.clockBefore = this.clock;
    this.logTime = logTime;
    this.logTimeBefore = logTime;
    this.h = this.taken = 0.01 / (1 + norm(this.rates[0]));
    this.ratio = 1e-4;
    // Whether the rate at `now` is still in the last place, where the last step left it.
    this.fresh = false;
  }

  get done() {
    return this.resting || this.failed;
  }

  // Fills rates[stage] at y and T; returns log Φ.
  rate(stage, y, clock) {
    this.evaluations++;
    const F = this.rates[stage];
    const logLoss = this.objective.field(y, F);
    this.clockRates[stage] = this.objective.logarithmic ? 1 - clock * dot(F, F, F.length) : 1;
    return logLoss;
  }

  // One accepted step, or `failed` or `resting`.
  step() {
    if (this.fresh) {
      const { rates, clockRates } = this;
      [rates[0], rates[6], clockRates[0], this.fresh] = [rates[6], rates[0], clockRates[6], false];
    }
    for (let attempt = 0; attempt < 60; attempt++) {
      const found = this.attempt(this.h);
      const bound = REACH / found.stiffness;
      if (found.ratio <= 1) {
        this.accept(found);
        const damped = found.ratio ** -0.17 * Math.max(this.ratio, 1e-4) ** 0.04;
        this.ratio = Math.max(found.ratio, 1e-10);
        this.h = Math.min(this.h * Math.max(0.2, Math.min(5, 0.9 * damped)), bound);
        return;
      }
      this.h *= Number.isFinite(found.ratio) ? Math.max(0.1, 0.9 * found.ratio ** -0.2) : 0.1;
    }
    this.failed = true;
  }

  attempt(h) {
    const { rates, clockRates, now, trial } = this;
    let logLoss = NaN;
    let clock = NaN;
    for (let stage = 1; stage < 7; stage++) {
      clock = this.clock + h * dot(STAGES[stage], clockRates, stage);
      combine(now, h, STAGES[stage], rates, trial);
      if (stage === 5) this.sixth.set(trial);
      logLoss = this.rate(stage, trial, clock);
    }
    return { h, clock, logLoss, ratio: this.errorRatio(h, clock, logLoss), stiffness: this.stiffness() };
  }

  // Error of y over tolerance ‖y‖, and that of T over tolerance T.
  errorRatio(h, clock, logLoss) {
    if (!Number.isFinite(logLoss) || !(clock > 0)) return Infinity;
    combine(null, 1, ERROR, this.rates, this.reading);
    const error = h * norm(this.reading);
    const clockError = h * dot(ERROR, this.clockRates, 7);
    return Math.max(error / norm(this.trial), Math.abs(clockError) / clock) / this.tolerance || 0;
  }

  // An estimate of λ: how much the rate differs between the last two stages, which are at the same s.
  stiffness() {
    let [above, below] = [0, 0];
    const { trial, sixth } = this;
    const [before, after] = [this.rates[5], this.rates[6]];
    for (let e = 0; e < this.size; e++) {
      above += (after[e] - before[e]) * (after[e] - before[e]);
      below += (trial[e] - sixth[e]) * (trial[e] - sixth[e]);
    }
    return below > 0 ? Math.sqrt(above / below) : 0;
  }

  accept({ h, clock, logLoss }) {
    [this.before, this.now, this.trial] = [this.now, this.trial, this.before];
    [this.clockBefore, this.clock] = [this.clock, clock];
    this.logLoss = logLoss;
    [this.logTimeBefore, this.logTime] = [this.logTime, this.timeOf(clock, logLoss)];
    this.taken = h;
    this.steps++;
    this.fresh = true;
    this.resting = !this.objective.margins && norm(this.rates[6]) <= AT_REST * norm(this.now);
  }

  timeOf(clock, logLoss) {
    return Math.log(clock) - (this.objective.logarithmic ? logLoss : 0);
  }

  // y at a log t inside the last step (after the end: at the end, for a flow at rest).
  at(logTime) {
    if (logTime >= this.logTime) return Float64Array.from(this.now);
    const goal = elapsed(logTime);
    let [low, high] = [0, 1];
    let [under, over] = [elapsed(this.logTimeBefore) - goal, elapsed(this.logTime) - goal];
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
    this.inside(theta);
    return Float64Array.from(this.reading);
  }

  timeAt(theta) {
    const clock = this.inside(theta);
    return this.timeOf(clock, this.objective.value(this.reading)[0]);
  }

  // Writes y at a fraction of the last step into `reading` and returns T there.
  inside(theta) {
    const { before, now, rates, clockRates, taken: h, reading } = this;
    // θ, θ(1 − θ), θ²(1 − θ), θ²(1 − θ)² times the change, the bends at both ends, and what the stages know beyond.
    const [one, two, three, four] = [theta, theta * (1 - theta), theta ** 2 * (1 - theta), (theta * (1 - theta)) ** 2];
    const weights = DENSE.map((weight) => four * weight);
    weights[0] += two - three;
    weights[6] -= three;
    const share = one - two + 2 * three;
    combine(before, h, weights, rates, reading);
    for (let e = 0; e < this.size; e++) reading[e] += share * (now[e] - before[e]);
    return this.clockBefore + share * (this.clock - this.clockBefore) + h * dot(weights, clockRates, 7);
  }
}
