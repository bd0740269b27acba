// The laboratory: settings, their controls and runs, and marks that can be dragged.

const RATES = [0, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3];
const CONTROLS = [
  ["K", "classes K"],
  ["n", "samples n of a class"],
  ["d", "dimension d"],
  ["imbalance", "imbalance"],
  ["scale", "size of the start"],
  ["seed", "seed"],
  ["loss", "loss"],
  ["strength", "strength"],
  ["decayW", "decay of W"],
  ["decayH", "decay of H"],
  ["rate", "gradient descent η"],
  ["end", "up to time t"],
];
const CHOICES = {
  loss: () => Object.entries(LOSSES).map(([name, { title }]) => [name, title]),
  decayW: () => DECAYS.map((x) => [String(x), x ? String(x) : "none"]),
  decayH: () => CHOICES.decayW(),
  rate: () => RATES.map((x) => [String(x), x ? String(x) : "none"]),
  end: () => ENDS.map((x) => [String(x), powerOfTen(x)]),
};
const SLICE = 20; // milliseconds of work between two chances for the page to answer
const NUDGE = 0.08; // of a mark by a key, in units of the scene

class Lab {
  // changed(): the picture of a run is new; touched(): a person has changed a setting.
  constructor(form, scenes, curves, changed, touched) {
    Object.assign(this, { form, scenes, curves, changed, touched });
    this.settings = [firstSettings()];
    this.runs = [null, null];
    this.active = 0;
    this.pictures = [];
    this.channel = new MessageChannel();
    this.channel.port1.onmessage = () => this.slice();
    this.build();
  }

  get comparing() {
    return this.settings.length > 1;
  }

  get picture() {
    return this.pictures[this.active];
  }

  get busy() {
    return this.runs.some((run) => run && !run.done);
  }

  get ready() {
    return Math.min(...this.settings.map((_, i) => (this.pictures[i] ? this.pictures[i].ready : 0)));
  }

  // --- controls

  build() {
    this.inputs = {};
    for (const [name, title] of CONTROLS) {
      const label = make("label", `control ${name}`, this.form.querySelector(".controls-of-lab"));
      make("span", "", label).textContent = title;
      const value = make("b", "", label);
      const choices = CHOICES[name];
      const input = make(choices ? "select" : "input", "", label);
      if (choices) for (const [key, words] of choices()) make("option", "", input).append(words), (input.lastElementChild.value = key);
      else input.type = name === "seed" ? "number" : "range";
      if (RANGES[name]) Object.assign(input, { min: RANGES[name].from, max: RANGES[name].to, step: RANGES[name].step });
      input.name = name;
      input.addEventListener("input", () => input.value !== "" && this.set(name, choices && name === "loss" ? input.value : Number(input.value)));
      // What cannot be taken, such as a negative seed, gives way to what is shown.
      input.addEventListener("change", () => this.show());
      this.inputs[name] = { label, input, value };
    }
    const on = (selector, act) => this.form.querySelector(selector).addEventListener("click", act);
    on(".another", () => this.set("seed", (this.settings[this.active].seed + 1) % 10000));
    on(".undo", () => this.moveTo([]));
    on(".compare", () => this.compare());
    this.form.querySelectorAll("[name=setting]").forEach((radio, i) => radio.addEventListener("change", () => this.choose(i)));
    this.form.addEventListener("submit", (event) => event.preventDefault());
  }

  // Shows the settings on the controls.
  show() {
    const settings = this.settings[this.active];
    const { strength } = LOSSES[settings.loss];
    for (const [name] of CONTROLS) {
      const { label, input, value } = this.inputs[name];
      if (name === "strength") {
        label.hidden = !strength;
        if (strength) Object.assign(input, { min: strength.from, max: strength.to, step: strength.step });
        if (strength) label.firstElementChild.textContent = strength.name;
      }
      // A link may have a step size between those of the list.
      if (name === "rate" && !RATES.includes(settings.rate)) {
        const own = input.querySelector(".own") || make("option", "own", input);
        own.textContent = own.value = String(settings.rate);
      }
      input.value = String(settings[name]);
      value.textContent = name === "imbalance" ? `${settings[name]} : 1` : input.type === "range" ? String(settings[name]) : "";
    }
    this.form.querySelectorAll("[name=setting]")[this.active].checked = true;
    this.form.querySelector(".which").hidden = !this.comparing;
    this.form.querySelector(".compare").textContent = this.comparing ? "One setting" : "Compare two";
    this.form.querySelector(".undo").disabled = !settings.moves.length;
    document.body.toggleAttribute("data-comparing", this.comparing);
  }

  set(name, value) {
    const settings = { ...this.settings[this.active], [name]: value };
    if (RANGES[name] && !(value >= RANGES[name].from && value <= RANGES[name].to)) return;
    if (name === "seed" && !Number.isInteger(value)) return;
    if (name === "loss") settings.strength = LOSSES[value].strength ? LOSSES[value].strength.first : 0;
    // A first decay is that of both factors, and "none" is none for both.
    const other = { decayW: "decayH", decayH: "decayW" }[name];
    if (other) Object.assign(settings, value && !settings[other] ? { [other]: value } : decayPair(settings.decayW, settings.decayH));
    if (name !== "rate") settings.moves = [];
    this.settings[this.active] = settings;
    // Both settings share the clock.
    if (name === "end") this.settings = this.settings.map((each) => ({ ...each, end: value, moves: [] }));
    this.restart(name === "end" ? null : this.active);
    this.touched();
  }

  choose(index) {
    this.active = index;
    this.show();
    this.draw(true);
    this.touched();
  }

  compare() {
    if (this.comparing) {
      this.settings = [this.settings[this.active]];
      this.runs = [this.runs[this.active], null];
      this.pictures = [];
      this.active = 0;
    } else {
      this.settings = [this.settings[0], { ...this.settings[0], moves: [...this.settings[0].moves] }];
      this.active = 1;
    }
    this.restart(this.comparing ? 1 : null);
    this.touched();
  }

  // Takes the settings of a link.
  take(settings, active) {
    const known = (list) => JSON.stringify(list);
    const same = this.runs[0] && known(settings) === known(this.settings);
    this.settings = settings;
    this.active = Math.min(active, settings.length - 1);
    if (same) this.draw(true);
    else this.restart(null);
    this.show();
  }

  // --- runs

  // Runs a setting again from its start, or all.
  restart(index) {
    this.settings.forEach((settings, i) => {
      if (index === null || index === i) this.runs[i] = new Run({ ...settings });
    });
    if (!this.comparing) this.runs[1] = null;
    this.show();
    this.wake();
  }

  wake() {
    this.began = performance.now();
    this.drawn = this.drawnCurves = performance.now();
    if (!this.working) this.slice();
  }

  slice() {
    const waiting = this.runs.find((run) => run && !run.done);
    if (waiting) waiting.work(SLICE);
    const more = this.busy;
    const now = performance.now();
    if (!more || now - this.drawn > 400) {
      // The curves are dear to draw: while a run goes on, they are drawn seldom.
      this.draw(!more || now - this.drawnCurves > 1500);
      this.drawn = performance.now();
    }
    this.working = more;
    if (more) {
      this.channel.port2.postMessage(0);
      return;
    }
    this.milliseconds = performance.now() - this.began;
    const after = this.after;
    this.after = null;
    if (after) after();
  }

  // Calls back once all runs are done: at once if they are.
  whenDone(act) {
    if (this.busy) this.after = act;
    else act();
  }

  // Makes the pictures of the runs and shows them.
  draw(withCurves) {
    this.settings.forEach((_, i) => {
      const run = this.runs[i];
      this.pictures[i] = pictureOf(run, i === this.active ? this.others() : []);
      this.scenes[i].load(this.pictures[i]);
    });
    if (withCurves) this.drawnCurves = performance.now();
    this.changed(withCurves);
  }

  others() {
    const beside = [];
    if (this.comparing) {
      const { frames, objective } = this.runs[1 - this.active];
      beside.push({ name: this.active ? "A" : "B", frames, objective, spans: true });
    }
    const { descent, descentFrames, objective } = this.runs[this.active];
    // Descent may diverge: the axes are those of the flows, and its curves leave them.
    if (descent) beside.push({ name: "GD", frames: descentFrames, objective, spans: false, absent: "ended" });
    return beside;
  }

  // --- marks that are moved

  // Begins a move of a mark of a scene, at a frame; drag() and drop() go on with it.
  grab(index, { kind, k }, frame) {
    this.active = index;
    const at = Math.round(frame);
    const { moves } = this.runs[index].settings;
    this.held = { index, moves, move: { frame: at, kind, k, by: this.scenes[index].flat ? [0, 0] : [0, 0, 0] } };
    return at;
  }

  drag(by) {
    const { moves, move, index } = this.held;
    move.by = move.by.map((x, p) => x + by[p]);
    this.moveTo(withMove(moves, move), index);
  }

  drop() {
    this.held = null;
    this.touched();
  }

  moveTo(moves, index = this.active) {
    this.settings[index] = { ...this.settings[index], moves };
    this.runs[index].change(moves);
    this.show();
    this.wake();
    this.draw(false);
    if (!this.held) this.touched();
  }

  // The next mark for the keys: means, then rows.
  chooseNext() {
    const scene = this.scenes[this.active];
    const { K } = this.settings[this.active];
    const marks = ["mean", "row"].flatMap((kind) => Array.from({ length: K }, (_, k) => ({ kind, k })));
    const now = marks.findIndex((mark) => scene.chosen && mark.kind === scene.chosen.kind && mark.k === scene.chosen.k);
    scene.chosen = now + 1 < marks.length ? marks[now + 1] : null;
    return scene.chosen;
  }

  // Moves the chosen mark a little, to the right and down on the screen.
  nudge(right, down, frame) {
    const scene = this.scenes[this.active];
    if (!scene.chosen) return;
    this.grab(this.active, scene.chosen, frame);
    this.drag(scene.unproject(right * NUDGE * scene.unit, down * NUDGE * scene.unit));
    this.drop();
  }

  // --- words

  get caption() {
    const { descent } = this.runs[this.active];
    return descent && descent.diverged ? `${this.captionOfFlow} Gradient descent diverges: η = ${descent.rate} is too large.` : this.captionOfFlow;
  }

  get captionOfFlow() {
    const s = this.settings[this.active];
    const counts = classCounts(s.K, s.n, s.imbalance);
    const { failure } = this.runs[this.active];
    if (failure) return failure;
    if (s.loss === "squared" && s.decayW) return "Squared error with decay ends in an orthogonal frame, if d ≥ K: classes at right angles, and no simplex.";
    // The logits of K classes determine features in at most K dimensions; what lies in others never moves.
    if (s.loss === "squared") return s.d > s.K ? "Squared error is zero at finite logits: the flow stops before anything has collapsed." : "Squared error is smallest at finite logits: the flow stops there. The features of each class have merged, but the angles depend on the start.";
    if (s.decayW) return "With decay the flow comes to rest: follow the norms, which stop where decay and loss balance.";
    if (s.loss === "smoothed") return "Smoothed labels ask for finite margins only: the flow comes to rest, and how far it collapsed depends on the start.";
    if (s.d < s.K - 1) return `A simplex of ${s.K} classes needs ${s.K - 1} dimensions and has ${s.d}: where the flow ends depends on the start.`;
    if (new Set(counts).size > 1) return "Classes with more samples take more room: the shape of largest margin (dashed) is no regular simplex.";
    return "The features of each class merge and the class means form a regular simplex. Drag a mean or an arrow: the flow goes on from there.";
  }

  get facts() {
    const run = this.runs[this.active];
    const { settings: s, problem } = run;
    const moved = s.moves.length ? `, ${s.moves.length} ${s.moves.length === 1 ? "mark" : "marks"} moved by hand` : "";
    const loss = LOSSES[s.loss].title + (LOSSES[s.loss].strength ? ` (${LOSSES[s.loss].strength.name} = ${s.strength})` : "");
    return (
      `Laboratory. Gradient flow of the summed ${loss}${s.decayW ? ` with decay λ_W = ${s.decayW} and λ_H = ${s.decayH}` : ""}, computed in this browser; K = ${s.K}, ` +
      `samples ${problem.counts.join(", ")}, d = ${s.d}; random start, seed ${s.seed}${moved}; relative tolerance of a step 10⁻⁸. ` +
      `${s.rate ? `Open marks and thin grey curves are gradient descent with step size ${s.rate}, ${MOST_DESCENT_STEPS} steps at most. ` : ""}` +
      (s.decayW === s.decayH
        ? "Drawn are √(2K)·w/ρ and √(2N)·h/ρ, ρ² = ‖W‖² + ‖H‖²."
        : "Drawn are √K·w/‖W‖ and √N·h/‖H‖, as the two norms stay apart.")
    );
  }
}
