// The implicit method, for flows whose fastest components would hold an explicit one to tiny steps: RODAS, a Rosenbrock
// method of order 4, L-stable, with an error estimate of order 3 and an interpolant (Hairer and Wanner, "Solving Ordinary
// Differential Equations II", 1996, section IV.7).
//
// With σ = 1/(γh), stage i solves (σI − J) u_i = f(y + Σ_j a_ij u_j) + Σ_j (c_ij/h) u_j, with J of y and T together. T
// comes after y, which does not depend on it.

const GAMMA = 0.25;
const ARGUMENTS = [
  [],
  [1.544],
  [0.9466785280815826, 0.2557011698983284],
  [3.314825187068521, 2.896124015972201, 0.9986419139977817],
  [1.221224509226641, 6.019134481288629, 12.53708332932087, -0.687886036105895],
  [1.221224509226641, 6.019134481288629, 12.53708332932087, -0.687886036105895, 1],
];
const CARRIED = [
  [],
  [-5.6688],
  [-2.430093356833875, -0.2063599157091915],
  [-0.1073529058151375, -9.594562251023355, -20.47028614809616],
  [7.496443313967647, -10.24680431464352, -33.99990352819905, 11.7089089320616],
  [8.083246795921522, -7.981132988064893, -31.52159432874371, 16.31930543123136, -6.058818238834054],
];
const BENDS = [
  [10.12623508344586, -7.487995877610167, -34.80091861555747, -7.992771707568823, 1.025137723295662],
  [-0.6762803392801253, 6.087714651680015, 16.43084320892478, 24.76722511418386, -6.594389125716872],
];

class Rosenbrock {
  constructor(system) {
    Object.assign(this, { system, order: 4 });
    const vector = () => new Float64Array(system.size);
    this.stages = [];
    this.clockStages = new Float64Array(6);
    [this.trial, this.rhs, this.image, this.reading] = Array.from({ length: 4 }, vector);
    this.stiffest = null;
  }

  // As DormandPrince.attempt; no end where σI − J is not positive.
  attempt(from, h) {
    const { system, stages, clockStages, rhs, image } = this;
    const { logarithmic, size } = system;
    const sigma = 1 / (GAMMA * h);
    const jacobian = system.jacobian(from);
    if (!jacobian.factor(sigma)) return { end: null };
    // dT/ds = 1 − T‖F‖² has the derivatives −2 T J F by y, and −‖F‖² by T.
    jacobian.times(from.rate, image);
    const slope = logarithmic ? dot(from.rate, from.rate, size) : 0;
    let at = from;
    for (let i = 0; i < 6; i++) {
      if (i > 0) {
        const y = i === 5 ? new Float64Array(size) : this.trial;
        combine(from.y, 1, ARGUMENTS[i], stages, y);
        at = system.point(y, from.clock + dot(ARGUMENTS[i], clockStages, i), rhs);
      }
      combine(at.rate, 1 / h, CARRIED[i], stages, rhs);
      stages[i] = jacobian.solve(rhs);
      const clockRate = at.clockRate + dot(CARRIED[i], clockStages, i) / h;
      const through = logarithmic ? 2 * from.clock * dot(image, stages[i], size) : 0;
      clockStages[i] = (clockRate - through) / (sigma + slope);
    }
    const last = stages[5];
    const y = Float64Array.from(at.y, (x, e) => x + last[e]);
    const end = system.point(y, at.clock + clockStages[5], new Float64Array(size));
    Object.assign(this, { from, end, h });
    return { end, error: norm(last), clockError: clockStages[5], stiffness: this.stiffness(jacobian) };
  }

  // λ, as ‖J v‖ with v ← J v/‖J v‖ once a step: the power method.
  stiffness(jacobian) {
    const v = this.stiffest || this.stages[5].map((x) => x / norm(this.stages[5]));
    const image = new Float64Array(v.length);
    jacobian.times(v, image);
    const size = norm(image);
    this.stiffest = image.map((x) => x / size);
    return size;
  }

  // The time of a step in evaluations of the field, measured for K and d from 2 to 16.
  get cost() {
    const { K, d } = this.system.objective.problem;
    return 10 + 0.45 * K * d * d;
  }

  // As DormandPrince.inside.
  inside(theta) {
    const { from, end, stages, clockStages, reading } = this;
    const bend = theta * (1 - theta);
    const weights = BENDS[0].map((weight, i) => bend * (weight + theta * BENDS[1][i]));
    combine(from.y, 1, weights, stages, reading);
    for (let e = 0; e < reading.length; e++) reading[e] += theta * (end.y[e] - from.y[e]);
    return { y: reading, clock: from.clock + theta * (end.clock - from.clock) + dot(weights, clockStages, 5) };
  }
}
