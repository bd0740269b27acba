// A run as the scene and the curves take it: what a scenario of a film is, made while the run goes on.

function labClock(end) {
  const last = elapsed(end * Math.LN10);
  const powers = [0, 1, 3, 10, 30, 100, 300, 1000].filter((x) => x <= end);
  const marks = [[0, "0"], ...powers.map((x) => [elapsed(x * Math.LN10) / last, x === 0 ? "1" : powerOfTen(x)])];
  const frames = Array.from({ length: FRAMES }, (_, f) => f);
  return {
    title: "flow time t",
    positions: frames.map((f) => f / (FRAMES - 1)),
    words: frames.map((f) => `t = ${scientific(logTimeOfFrame(f, end) / Math.LN10)}`),
    ticks: spreadOut(marks, 0.07),
  };
}

// `others` are what is drawn thin beside the run, the other setting and gradient descent, each with its name, frames and
// objective, and whether the axes span it.
function pictureOf(run, others) {
  const { problem, settings, objective } = run;
  const last = run.frames[run.frames.length - 1];
  const axes = run.axes || principalAxes(problem, last.y);
  const marks = run.frames.map(({ y }) => marksOf(objective, y, axes, run.shown));
  const target = targetInView(settings, problem, objective, last.y, axes);
  const unequal = new Set(problem.counts).size > 1;
  return {
    key: "lab",
    classNames: problem.counts.map((count, k) => (unequal ? `${k} (${count})` : String(k))),
    axes: axes.length,
    rows: marks.map((frame) => frame.rows),
    means: marks.map((frame) => frame.means),
    features: marks.map((frame) => frame.features),
    ghosts: run.descentFrames.map((frame) => frame && marksOf(objective, frame.y, axes, []).means),
    featureClasses: run.shown.map((i) => problem.labels[i]),
    target,
    targetName: target ? target.name : "",
    clock: labClock(settings.end),
    panels: labPanels(run, others),
    ready: (run.frames.length - 1) / (FRAMES - 1),
  };
}

function labPanels(run, others) {
  return [metricsPanel(run, others), lossPanel(run, others), run.objective.margins ? boundsPanel(run, others) : normsPanel(run, others)];
}

// The frames that the axes span.
function spanned(run, others) {
  return [run, ...others.filter((other) => other.spans)].flatMap(({ frames }) => frames.filter(Boolean));
}

const LEAST_METRIC = -14;
const MOST_METRIC = 6;
const METRICS = [["NC1 spread", "nc1_pinv"], ["NC2 angles", "nc2_angle_means"], ["NC3 self-duality", "nc3_duality"]];

function metricsPanel(run, others) {
  const log = (key) => (frame) => Math.log10(frame.metrics[key]);
  const values = METRICS.flatMap(([, key]) => spanned(run, others).map(log(key)).filter(Number.isFinite));
  const bottom = Math.max(LEAST_METRIC, Math.floor(Math.min(-1, ...values)));
  const top = Math.max(1, Math.min(MOST_METRIC, Math.max(...values) + 0.3));
  const step = top - bottom <= 4.5 ? 1 : top - bottom <= 8.5 ? 2 : 4;
  const ticks = [];
  for (let y = step * Math.ceil(bottom / step); y <= top; y += step) ticks.push([y, y === 0 ? "1" : y === 1 ? "10" : powerOfTen(y)]);
  const kept = (y) => (Number.isNaN(y) ? null : Math.min(2 * top, Math.max(bottom, y)));
  const curves = METRICS.map(([name, key]) => curveOf(name, run, others, log(key), kept, scientific));
  return { title: "Distance from neural collapse", curves, range: [bottom - 0.3, top], ticks };
}

function warped(y) {
  return Math.sign(y) * Math.log10(1 + Math.abs(y));
}

// log10 Φ on an axis that is even near 1 and logarithmic in log10 Φ far from it.
function lossPanel(run, others) {
  const log = (frame) => frame.logValue / Math.LN10;
  const values = spanned(run, others).map(log).filter(Number.isFinite);
  const [low, high] = [warped(Math.min(0, ...values)), warped(Math.max(0.5, ...values))];
  const marks = [-1000, -100, -10, -1, 0, 1, 10].filter((y) => warped(y) >= low && warped(y) <= high + 0.1);
  const ticks = spreadOut(marks.map((y) => [warped(y), y === 0 ? "1" : y === 1 ? "10" : powerOfTen(y)]), 0.17 * (high - low));
  const kept = (y) => (Number.isFinite(y) ? Math.min(high + 1, Math.max(low, warped(y))) : null);
  const title = run.objective.decayed ? "Training loss with decay (sum over samples)" : "Training loss L (sum over samples)";
  return { title, curves: [curveOf("loss", run, others, log, kept, scientific)], range: [low - 0.1, high + 0.15], ticks };
}

function boundsPanel(run, others) {
  const { problem } = run;
  const balanced = new Set(problem.counts).size === 1;
  // Where margins stay finite, a state proves nothing about the margin problem.
  const proving = others.map((other) => (other.objective.margins ? other : { ...other, frames: Array(FRAMES).fill(null), absent: "none" }));
  const within = [run, ...proving.filter((other) => other.spans && other.objective.margins)];
  const known = problem.d >= problem.K - 1 ? simplexValue(problem.counts) : NaN;
  const bottom = 0.75 * Math.min(...within.flatMap(({ frames }) => frames.map((frame) => frame.bounds.lower)));
  // An upper bound that is far away is out of the picture until it comes near.
  const ends = within.map(({ frames }) => frames[frames.length - 1].bounds);
  const top = 1.7 * Math.max(...ends.map(({ lower, upper }) => (Number.isFinite(upper) ? Math.min(upper, 40 * lower) : 2 * lower)));
  const kept = (y) => (Number.isFinite(y) ? Math.min(y, 2 * top) : null);
  const words = (y) => (Number.isFinite(y) ? String(Number(y.toPrecision(6))) : "none yet");
  const curves = [
    { ...curveOf("proven upper bound", run, proving, (frame) => frame.bounds.upper, kept, words), band: true },
    curveOf("proven lower bound", run, proving, (frame) => frame.bounds.lower, kept, words),
  ];
  const level = Number.isFinite(known) ? [known, `v* = ${Number(known.toPrecision(5))}`] : null;
  return { title: "Optimum v* of the margin problem: bounds", curves, range: [bottom, top], ticks: roundMarks(bottom, top), level, level_end: "right", balanced };
}

// v* = ‖(I − 11ᵀ/K) diag(√n_k)‖_*, (K − 1)√n for equal counts.
function simplexValue(counts) {
  const shape = simplexEncoded(counts);
  // ‖W‖² of balanced factors is the sum of the singular values.
  return norm(shape.rows) ** 2;
}

function normsPanel(run, others) {
  const top = 1.15 * Math.max(...spanned(run, others).flatMap((frame) => frame.norms));
  const kept = (y) => (Number.isFinite(y) ? Math.min(y, 2 * top) : null);
  const words = (y) => String(Number(y.toPrecision(4)));
  const curves = ["norm of W", "norm of H"].map((name, i) => curveOf(name, run, others, (frame) => frame.norms[i], kept, words));
  return { title: "Norms of classifier and features", curves, range: [0, top], ticks: roundMarks(0, top) };
}

function roundMarks(bottom, top) {
  const power = 10 ** Math.floor(Math.log10(top - bottom));
  const step = [0.5 * power, power, 2 * power, 5 * power].find((each) => top - bottom < 4 * each);
  const marks = [];
  for (let i = Math.ceil(bottom / step); i <= Math.floor(top / step); i++) marks.push([step * i, String(Number((step * i).toPrecision(6)))]);
  return marks;
}

// A curve of all frames, those to come as gaps, with the same of the others.
function curveOf(name, run, others, valueOf, heightOf, wordsOf) {
  const drawn = (frames, absent = "–") => {
    const values = Array.from({ length: FRAMES }, (_, f) => (frames[f] ? valueOf(frames[f]) : null));
    return { heights: values.map((y) => (y === null ? null : heightOf(y))), words: values.map((y, f) => (y !== null ? wordsOf(y) : frames[f] === null ? absent : "–")) };
  };
  return { name, ...drawn(run.frames), others: others.map(({ name: label, frames, absent }) => ({ name: label, ...drawn(frames, absent) })) };
}
