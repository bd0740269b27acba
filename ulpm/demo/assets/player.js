// The page: which scenario, what time, and what moves it.

const SECONDS = 14; // from start to end
const TURN = 0.22; // radians a second, while playing
const byId = (id) => document.getElementById(id);
const DATA = JSON.parse(byId("data").textContent);
const still = window.matchMedia("(prefers-reduced-motion: reduce)");
const scene = new Scene(byId("scene"));
const curves = new Curves(byId("panels"), (place) => goTo(place));
let scenario;
let place = 0; // in [0, 1], where the slider is
let playing = false;
let latest = 0;

function frameAt(positions, at) {
  let after = positions.findIndex((position) => position >= at);
  if (after < 0) after = positions.length - 1;
  if (after === 0) return 0;
  const [low, high] = [positions[after - 1], positions[after]];
  return after - 1 + Math.min(1, (at - low) / (high - low));
}

function draw() {
  const frame = frameAt(scenario.clock.positions, place);
  const words = scenario.clock.words[Math.round(frame)];
  scene.draw(frame);
  curves.draw(frame, place);
  byId("time").textContent = words;
  byId("slider").value = Math.round(1000 * place);
  byId("slider").setAttribute("aria-valuetext", words);
}

function goTo(where) {
  place = Math.max(0, Math.min(1, where));
  draw();
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
  if (!still.matches) scene.turn(TURN * seconds, 0);
  goTo(place + seconds / SECONDS);
  if (place >= 1) setPlaying(false);
  else requestAnimationFrame(tick);
}

function choose(index) {
  scenario = DATA.scenarios[index];
  setPlaying(false);
  document.querySelectorAll("#scenarios input")[index].checked = true;
  byId("caption").textContent = scenario.caption;
  byId("facts").textContent = `${scenario.title}. ${scenario.facts}`;
  byId("scene").setAttribute("aria-label", `Features, class means and classifier of ${scenario.classNames.length} classes. ${scenario.caption}`);
  byId("target-legend").style.visibility = scenario.target ? "visible" : "hidden";
  byId("target-legend").lastElementChild.textContent = scenario.targetName;
  byId("ticks").replaceChildren();
  for (const [at, label] of scenario.clock.ticks) {
    const tickMark = make("span", "", byId("ticks"));
    tickMark.textContent = label;
    tickMark.style.left = `${100 * at}%`;
  }
  scene.show(scenario);
  curves.show(scenario);
  document.querySelectorAll("#scenarios label")[index].scrollIntoView({ block: "nearest", inline: "nearest" });
  goTo(0);
}

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const onScene = document.activeElement === byId("scene");
  const turns = { ArrowLeft: [-0.12, 0], ArrowRight: [0.12, 0], ArrowUp: [0, 0.12], ArrowDown: [0, -0.12] };
  const onRadio = document.activeElement && document.activeElement.type === "radio";
  const actions = {
    ArrowLeft: () => step(-1),
    ArrowRight: () => step(1),
    PageUp: () => step(10),
    PageDown: () => step(-10),
    Home: () => goTo(0),
    End: () => goTo(1),
    " ": () => setPlaying(!playing),
  };
  let act = actions[event.key];
  if (onScene && turns[event.key]) act = () => { scene.turn(...turns[event.key]); draw(); };
  if (event.key === " " && document.activeElement === byId("play")) return;
  if (onRadio && event.key.startsWith("Arrow")) return;
  if (event.key.startsWith("Page") && document.activeElement !== byId("slider")) return;
  if (/^[1-9]$/.test(event.key) && DATA.scenarios[event.key - 1]) act = () => choose(event.key - 1);
  if (!act) return;
  event.preventDefault();
  act();
}

function start() {
  DATA.scenarios.forEach((each, i) => {
    const label = make("label", "", byId("scenarios"));
    const radio = make("input", "", label);
    Object.assign(radio, { type: "radio", name: "scenario", value: each.key });
    radio.addEventListener("change", () => choose(i));
    make("span", "", label).textContent = each.title;
  });
  if (DATA.scenarios.length === 1) byId("scenarios").hidden = true;
  const versions = Object.entries(DATA.versions).map(([name, version]) => `${name} ${version}`).join(", ");
  byId("origin").append("Made by ");
  make("code", "", byId("origin")).textContent = DATA.command;
  byId("origin").append(` (${versions}).`);
  byId("play").addEventListener("click", () => setPlaying(!playing));
  byId("slider").addEventListener("input", (event) => { setPlaying(false); goTo(event.target.value / 1000); });
  document.addEventListener("keydown", onKey);
  byId("scene").addEventListener("pointerdown", (event) => {
    byId("scene").setPointerCapture(event.pointerId);
  });
  byId("scene").addEventListener("pointermove", (event) => {
    if (!event.buttons) return;
    scene.turn(-0.01 * event.movementX, 0.01 * event.movementY);
    draw();
  });
  new ResizeObserver(() => scenario && draw()).observe(byId("scene"));
  choose(0);
}

start();
