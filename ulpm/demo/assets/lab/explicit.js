// The explicit method: steps of Dormand and Prince, "A family of embedded Runge-Kutta formulae", 1980, with their error
// estimate, and between them the continuous extension of Hairer, Nørsett and Wanner, "Solving Ordinary Differential
// Equations I", 1993, section II.6.

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

class DormandPrince {
  constructor(system) {
    this.system = system;
    this.order = 5;
    this.cost = 6; // evaluations of the field in a step
    const vector = () => new Float64Array(system.size);
    this.rates = Array.from({ length: 7 }, vector);
    this.clockRates = new Float64Array(7);
    [this.trial, this.sixth, this.reading] = Array.from({ length: 3 }, vector);
  }

  // A step of length h from a point: its end, its errors in y and T, and λ.
  attempt(from, h) {
    const { system, rates, clockRates } = this;
    rates[0] = from.rate;
    clockRates[0] = from.clockRate;
    let end = null;
    for (let stage = 1; stage < 7; stage++) {
      const clock = from.clock + h * dot(STAGES[stage], clockRates, stage);
      const y = stage === 6 ? new Float64Array(system.size) : stage === 5 ? this.sixth : this.trial;
      combine(from.y, h, STAGES[stage], rates, y);
      end = system.point(y, clock, stage === 6 ? new Float64Array(system.size) : rates[stage]);
      rates[stage] = end.rate;
      clockRates[stage] = end.clockRate;
    }
    Object.assign(this, { from, end, h });
    combine(null, h, ERROR, rates, this.reading);
    return { end, error: norm(this.reading), clockError: h * dot(ERROR, clockRates, 7), stiffness: this.stiffness() };
  }

  // An estimate of λ: how much the rate differs between the last two stages, which are at the same s.
  stiffness() {
    let [above, below] = [0, 0];
    const { sixth, end } = this;
    const before = this.rates[5];
    for (let e = 0; e < sixth.length; e++) {
      above += (end.rate[e] - before[e]) * (end.rate[e] - before[e]);
      below += (end.y[e] - sixth[e]) * (end.y[e] - sixth[e]);
    }
    return below > 0 ? Math.sqrt(above / below) : 0;
  }

  // The point at a fraction of the last step; its y is overwritten by the next one.
  inside(theta) {
    const { from, end, rates, clockRates, h, reading } = this;
    // θ, θ(1 − θ), θ²(1 − θ), θ²(1 − θ)² times the change, the bends at both ends, and what the stages know beyond.
    const [one, two, three, four] = [theta, theta * (1 - theta), theta ** 2 * (1 - theta), (theta * (1 - theta)) ** 2];
    const weights = DENSE.map((weight) => four * weight);
    weights[0] += two - three;
    weights[6] -= three;
    const share = one - two + 2 * three;
    combine(from.y, h, weights, rates, reading);
    for (let e = 0; e < reading.length; e++) reading[e] += share * (end.y[e] - from.y[e]);
    return { y: reading, clock: from.clock + share * (end.clock - from.clock) + h * dot(weights, clockRates, 7) };
  }
}
