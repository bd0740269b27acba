// Settings of the laboratory, and the part of a link that holds them: #lab&K=4&n=12…, the second setting as B.K=….

// from, to, step and what each number is at first; `heavy` warns where a product of sizes gets slow.
const RANGES = {
  K: { from: 2, to: 12, step: 1, first: 4 },
  n: { from: 1, to: 40, step: 1, first: 12 },
  d: { from: 2, to: 32, step: 1, first: 3 },
  seed: { from: 0, to: 9999, step: 1, first: 0 },
  imbalance: { from: 1, to: 20, step: 1, first: 1 },
  scale: { from: 0.1, to: 4, step: 0.1, first: 1 },
  rate: { from: 0, to: 5, step: 0, first: 0 },
};
const ENDS = [1, 3, 10, 30, 100, 300, 1000];
const DECAYS = [0, 1e-4, 1e-3, 1e-2, 0.1];

function firstSettings() {
  const numbers = Object.fromEntries(Object.entries(RANGES).map(([name, range]) => [name, range.first]));
  return { ...numbers, loss: "cross-entropy", strength: 0, decayW: 0, decayH: 0, end: 1000, moves: [] };
}

// Both decays or none: with one alone what one factor loses the other gains, and no finite state minimises Φ.
function decayPair(decayW, decayH) {
  return decayW && decayH ? { decayW, decayH } : { decayW: 0, decayH: 0 };
}

// A move: at a frame, the mean or the row of a class goes by so much along the axes of the view.
function moveToText({ frame, kind, k, by }) {
  return [frame, kind, k, ...by].join("_");
}

function moveFromText(text) {
  const [frame, kind, k, ...by] = text.split("_");
  const move = { frame: Number(frame), kind, k: Number(k), by: by.map(Number) };
  const whole = Number.isInteger(move.frame) && Number.isInteger(move.k) && move.frame >= 0 && move.k >= 0;
  return whole && ["mean", "row"].includes(kind) && by.length && move.by.every((x) => Math.abs(x) < 10) ? move : null;
}

function settingsToPairs(settings, prefix = "") {
  const pairs = ["K", "n", "d", "seed", "imbalance", "scale", "rate", "loss", "strength", "decayW", "decayH", "end"].map((name) => [prefix + name, String(settings[name])]);
  if (settings.moves.length) pairs.push([prefix + "moves", settings.moves.map(moveToText).join("~")]);
  return pairs;
}

// Numbers outside their ranges are brought into them; what cannot be read stays as it is at first.
function settingsFromPairs(pairs, prefix = "") {
  const settings = firstSettings();
  const given = (name) => pairs.get(prefix + name);
  for (const [name, { from, to, step }] of Object.entries(RANGES)) {
    const value = Number(given(name) || NaN);
    if (!Number.isFinite(value)) continue;
    const inside = Math.min(to, Math.max(from, value));
    settings[name] = step ? Number((Math.round(inside / step) * step).toFixed(6)) : inside;
  }
  if (Object.hasOwn(LOSSES, given("loss") || "")) settings.loss = given("loss");
  const { strength } = LOSSES[settings.loss];
  const value = Number(given("strength") || NaN);
  if (strength) settings.strength = Number.isFinite(value) ? Math.min(strength.to, Math.max(strength.from, value)) : strength.first;
  // One decay that is given is that of both factors, as in links of version 0.2.
  const decays = [["decayW", "decayH"], ["decayH", "decayW"]].map(([own, other]) => Number(given(own) || given(other) || given("decay")));
  if (decays.every((x) => DECAYS.includes(x))) Object.assign(settings, decayPair(...decays));
  if (ENDS.includes(Number(given("end")))) settings.end = Number(given("end"));
  settings.moves = (given("moves") || "").split("~").filter(Boolean).map(moveFromText).filter((move) => move && move.frame < FRAMES && move.k < settings.K).sort((one, other) => one.frame - other.frame);
  return settings;
}
