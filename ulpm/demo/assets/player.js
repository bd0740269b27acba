// The page: which film or laboratory, what time, and what moves it.

const SECONDS = 14; // from start to end
const TURN = 0.22; // radians a second, while playing
const SPEEDS = [1, 2, 4, 0.5];
const byId = (id) => document.getElementById(id);
const DATA = JSON.parse(byId("data").textContent);
const still = window.matchMedia("(prefers-reduced-motion: reduce)");
const scene = new Scene(byId("scene"));
const beside = new Scene(byId("scene-beside"));
const curves = new Curves(byId("panels"), (place) => goTo(place));
const lab = new Lab(byId("settings"), [scene, beside], curves, (withCurves) => showLab(withCurves), () => noteLink());
let scenario;
let mode = "films";
let film = 0;
let place = 0; // in [0, 1], where the slider is
let playing = false;
let speed = 0;
let latest = 0;

function frameAt(positions, at) {
  let after = positions.findIndex((position) => position >= at);
  if (after < 0) after = positions.length - 1;
  if (after === 0) return 0;
  const [low, high] = [positions[after - 1], positions[after]];
  return after - 1 + Math.min(1, (at - low) / (high - low));
}

function frameNow() {
  return Math.min(frameAt(scenario.clock.positions, place), scene.rows.length - 1);
}

function draw() {
  const frame = frameNow();
  const words = scenario.clock.words[Math.round(frame)];
  scene.draw(frame);
  if (mode === "lab" && lab.comparing && beside.rows) beside.draw(Math.min(frame, beside.rows.length - 1));
  curves.draw(frame, place);
  byId("time").textContent = words;
  byId("slider").value = Math.round(1000 * place);
  byId("slider").setAttribute("aria-valuetext", words);
}

function goTo(where) {
  const end = mode === "lab" ? lab.ready : 1;
  place = Math.max(0, Math.min(end, where));
  draw();
  noteLink();
}

// To the frame that is so many frames on, from a frame or from between two.
function step(frames) {
  setPlaying(false);
  const positions = scenario.clock.positions;
  const here = frameAt(positions, place);
  const next = frames > 0 ? Math.floor(here + 1e-6) + frames : Math.ceil(here - 1e-6) + frames;
  goTo(positions[Math.max(0, Math.min(positions.length - 1, next))]);
}

function setPlaying(now) {
  playing = now;
  const button = byId("play");
  button.setAttribute("aria-pressed", String(now));
  button.setAttribute("aria-label", now ? "Pause" : "Play");
  if (!now) return;
  if (place >= 1) place = 0;
  latest = performance.now();
  requestAnimationFrame(tick);
}

function tick(now) {
  if (!playing) return;
  const seconds = Math.min(0.1, (now - latest) / 1000);
  latest = now;
  if (!still.matches && !lab.held) [scene, beside].forEach((each) => each.turn(TURN * seconds, 0));
  goTo(place + (SPEEDS[speed] * seconds) / SECONDS);
  if (place >= 1) setPlaying(false);
  else requestAnimationFrame(tick);
}

// The words, the legend and the time axis of what is shown.
function describe({ title, caption, facts, classNames, target, targetName, clock }) {
  byId("caption").textContent = caption;
  byId("facts").textContent = title ? `${title}. ${facts}` : facts;
  byId("scene").setAttribute("aria-label", `Features, class means and classifier of ${classNames.length} classes. ${caption}`);
  byId("target-legend").style.visibility = target ? "visible" : "hidden";
  byId("target-legend").lastElementChild.textContent = targetName;
  byId("ticks").replaceChildren();
  for (const [at, label] of clock.ticks) {
    const tickMark = make("span", "", byId("ticks"));
    tickMark.textContent = label;
    tickMark.style.left = `${100 * at}%`;
  }
}

function choose(index) {
  setMode("films");
  film = index;
  scenario = DATA.scenarios[index];
  setPlaying(false);
  document.querySelectorAll("#scenarios input")[index].checked = true;
  describe(scenario);
  scene.show(scenario);
  curves.show(scenario);
  document.querySelectorAll("#scenarios label")[index].scrollIntoView({ block: "nearest", inline: "nearest" });
  goTo(0);
}

function showLab(withCurves) {
  if (mode !== "lab") return;
  scenario = { ...lab.picture, caption: lab.caption, facts: lab.facts };
  describe(scenario);
  if (withCurves || !curves.scenario || curves.scenario.key !== "lab") curves.update(scenario);
  byId("busy").hidden = !lab.busy;
  byId("ghost-legend").hidden = !scenario.ghosts.length;
  place = Math.min(place, lab.ready);
  draw();
}

function setMode(now) {
  if (now !== mode) setPlaying(false);
  if (now !== mode) window.scrollTo(0, 0);
  mode = now;
  document.body.dataset.mode = now;
  scene.chosen = beside.chosen = null;
  document.querySelectorAll("#modes a").forEach((link) => {
    if (link.hash === `#${now}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  });
  if (now !== "lab") document.body.removeAttribute("data-comparing");
  byId("ghost-legend").hidden = true;
}

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const focus = document.activeElement;
  if (mode === "story" || (focus && focus.closest("#settings") && focus.matches("input, select"))) return;
  const onScene = focus === byId("scene") || focus === byId("scene-beside");
  const seen = focus === byId("scene-beside") ? beside : scene;
  const turns = { ArrowLeft: [-0.12, 0], ArrowRight: [0.12, 0], ArrowUp: [0, 0.12], ArrowDown: [0, -0.12] };
  const onRadio = focus && focus.type === "radio";
  const actions = {
    ArrowLeft: () => step(-1),
    ArrowRight: () => step(1),
    PageUp: () => step(10),
    PageDown: () => step(-10),
    Home: () => goTo(0),
    End: () => goTo(1),
    " ": () => setPlaying(!playing),
    f: () => fullScreen(),
    h: () => hidePanels(),
  };
  let act = actions[event.key];
  if (mode === "lab" && event.key === "m") act = () => { setPlaying(false); lab.chooseNext(); draw(); };
  const chosen = mode === "lab" && lab.scenes[lab.active].chosen;
  if (onScene && turns[event.key]) act = () => { seen.turn(...turns[event.key]); draw(); };
  if (chosen && event.shiftKey && turns[event.key]) {
    const [right, up] = turns[event.key].map(Math.sign);
    act = () => lab.nudge(right, -up, frameNow());
  }
  if (event.key === " " && focus && focus.matches("button, a")) return;
  if (onRadio && event.key.startsWith("Arrow")) return;
  if (event.key.startsWith("Page") && focus !== byId("slider")) return;
  if (/^[1-9]$/.test(event.key) && DATA.scenarios[event.key - 1]) act = () => choose(event.key - 1);
  if (!act) return;
  event.preventDefault();
  act();
}

// A pointer turns a scene, or in the laboratory moves the mark under it.
function attach(seen, index) {
  const { canvas } = seen;
  const at = (event) => {
    const box = canvas.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  };
  let resume = false;
  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    const found = mode === "lab" && seen.hit(...at(event), frameNow());
    if (!found) return;
    setPlaying(false);
    place = lab.grab(index, found, frameNow()) / (FRAMES - 1);
    seen.chosen = found;
    resume = false;
    draw();
  });
  canvas.addEventListener("pointermove", (event) => {
    if (mode === "lab" && !event.buttons) canvas.classList.toggle("can-grab", Boolean(seen.hit(...at(event), frameNow())));
    if (!event.buttons) return;
    if (lab.held) {
      resume = true;
      lab.drag(seen.unproject(event.movementX, event.movementY));
    } else {
      seen.turn(-0.01 * event.movementX, 0.01 * event.movementY);
      draw();
    }
  });
  const release = () => {
    if (!lab.held) return;
    seen.chosen = null;
    lab.drop();
    if (resume && !still.matches) setPlaying(true);
    else draw();
  };
  canvas.addEventListener("pointerup", release);
  canvas.addEventListener("pointercancel", release);
  new ResizeObserver(() => scenario && mode !== "story" && draw()).observe(canvas);
}

function start() {
  DATA.scenarios.forEach((each, i) => {
    const label = make("label", "", byId("scenarios"));
    const radio = make("input", "", label);
    Object.assign(radio, { type: "radio", name: "scenario", value: each.key });
    radio.addEventListener("change", () => choose(i));
    make("span", "", label).textContent = each.title;
  });
  const versions = Object.entries(DATA.versions).map(([name, version]) => `${name} ${version}`).join(", ");
  byId("origin").append("Made by ");
  make("code", "", byId("origin")).textContent = DATA.command;
  byId("origin").append(` (${versions}).`);
  byId("play").addEventListener("click", () => setPlaying(!playing));
  byId("slider").addEventListener("input", (event) => { setPlaying(false); goTo(event.target.value / 1000); });
  document.addEventListener("keydown", onKey);
  attach(scene, 0);
  attach(beside, 1);
  startTools();
  window.addEventListener("hashchange", followLink);
  followLink();
}

start();
