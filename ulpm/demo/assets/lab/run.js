// A run of a setting: the flow at the frames of the slider, computed in slices so that the page stays responsive.

const FRAMES = 121;
const MOST_STEPS = 120000;

// log t of a frame: frames are even in log(1 + log(1 + t)) from t = 0 to 10^end.
function logTimeOfFrame(frame, end) {
  if (frame === 0) return -Infinity;
  const last = elapsed(end * Math.LN10);
  if (frame === FRAMES - 1) return end * Math.LN10;
  const outer = Math.expm1((last * frame) / (FRAMES - 1));
  return outer + Math.log(-Math.expm1(-outer));
}

// The moves with one more: a mark that goes by so much at a frame. Later moves end with it, since the flow goes another
// way from there. Rounded as in a link, so that the link makes the same run.
function withMove(moves, { frame, kind, k, by }) {
  const rounded = by.map((x) => Math.max(-9, Math.min(9, Number(x.toFixed(3)))));
  return [...moves.filter((move) => move.frame <= frame), { frame, kind, k, by: rounded }];
}

class Run {
  constructor(settings) {
    this.settings = settings;
    this.problem = problemOf(classCounts(settings.K, settings.n, settings.imbalance), settings.d);
    this.shown = shownSamples(this.problem);
    this.objective = new Objective(this.problem, settings.loss, settings.strength, [settings.decayW, settings.decayH]);
    this.frames = [];
    this.axes = null; // of the end of the run without moves, once that is known
    this.applied = 0; // moves that are in the frames
    this.steps = 0;
    this.milliseconds = 0;
    this.descent = null;
    this.descentFrames = [];
    this.frames.push(this.measured(this.startState()));
    this.flow = this.flowFrom(0);
    if (settings.rate > 0) this.descent = new Descent(this.objective, this.startState(), settings.rate);
  }

  startState() {
    return randomStart(this.problem, this.settings.seed, this.settings.scale);
  }

  flowFrom(frame) {
    return new Flow(this.objective, this.frames[frame].y, logTimeOfFrame(frame, this.settings.end));
  }

  get done() {
    const { frames, settings } = this;
    return this.failure !== undefined || (frames.length === FRAMES && this.axes !== null && this.applied === settings.moves.length && this.descentDone);
  }

  get descentDone() {
    return !this.descent || this.descentFrames.length === FRAMES;
  }

  // Works for so many milliseconds, or to the end.
  work(milliseconds) {
    const began = performance.now();
    const deadline = began + milliseconds;
    while (!this.done && performance.now() < deadline) this.advance(deadline);
    this.milliseconds += performance.now() - began;
    return this.done;
  }

  advance(deadline) {
    const { moves, end } = this.settings;
    if (this.frames.length === FRAMES) {
      this.axes = this.axes || principalAxes(this.problem, this.frames[FRAMES - 1].y);
      if (this.applied < moves.length) this.rewind();
      else if (!this.descentDone) this.descend(deadline);
      return;
    }
    this.applyWaiting();
    const logTime = logTimeOfFrame(this.frames.length, end);
    // Where moves have made numbers overflow, log t is NaN, and the step fails.
    while (!(this.flow.logTime >= logTime) && !this.flow.done && performance.now() < deadline) {
      this.flow.step();
      this.steps++;
    }
    if (this.flow.failed || this.steps > MOST_STEPS) this.failure = "The flow could not be followed any further: the picture ends here.";
    else if (this.flow.logTime >= logTime || this.flow.resting) this.frames.push(this.measured(this.flow.at(logTime)));
  }

  // Back to the frame of the first move that is not in the frames yet.
  rewind() {
    this.frames.length = this.settings.moves[this.applied].frame + 1;
    this.applyWaiting();
  }

  // Moves of the last frame that are not in it yet.
  applyWaiting() {
    const next = () => this.settings.moves[this.applied];
    while (this.axes && next() && next().frame === this.frames.length - 1) this.apply(next());
  }

  apply({ kind, k, by }) {
    const frame = this.frames.length - 1;
    const y = Float64Array.from(this.frames[frame].y);
    const { K, d, labels } = this.problem;
    const unit = 1 / lengthUnits(this.objective, y)[kind === "row" ? 0 : 1];
    const move = (at) => this.axes.forEach((axis, p) => { for (let a = 0; a < d; a++) y[at + a] += unit * (by[p] || 0) * axis[a]; });
    if (kind === "row") move(k * d);
    else labels.forEach((label, i) => { if (label === k) move((K + i) * d); });
    this.applied++;
    this.frames[frame] = { ...this.measured(y), before: this.frames[frame] };
    this.flow = this.flowFrom(frame);
  }

  // Takes another list of moves: what they have in common with those in the frames stays.
  change(moves) {
    const old = this.settings.moves;
    let same = 0;
    while (same < this.applied && same < moves.length && moveToText(old[same]) === moveToText(moves[same])) same++;
    for (; this.applied > same; this.applied--) {
      const { frame } = old[this.applied - 1];
      this.frames.length = frame + 1;
      this.frames[frame] = this.frames[frame].before;
    }
    if (moves[same]) this.frames.length = Math.min(this.frames.length, moves[same].frame + 1);
    this.settings.moves = moves;
    this.failure = undefined;
    this.steps = 0;
    this.flow = this.flowFrom(this.frames.length - 1);
    // At once, so that a mark stays under the pointer while what follows is computed.
    this.applyWaiting();
  }

  measured(y) {
    const logValue = this.objective.field(y, new Float64Array(y.length));
    const bounds = provenBounds(this.objective, y);
    const norms = this.objective.squares(y).map(Math.sqrt);
    return { y, logValue, bounds, norms, metrics: collapseMetrics(this.problem, y) };
  }

  descend(deadline) {
    const frame = this.descentFrames.length;
    const logTime = logTimeOfFrame(frame, this.settings.end);
    if (!this.descent.reaches(logTime)) this.descentFrames.push(null);
    else if (this.descent.advance(logTime, deadline)) this.descentFrames.push(this.descent.diverged ? null : this.measured(Float64Array.from(this.descent.y)));
  }
}
