// Tools beside the slider: the link, the picture, the screen, the speed.

let noting = null;

// Writes what is shown into the address, a moment after it has changed.
function noteLink() {
  clearTimeout(noting);
  noting = setTimeout(() => history.replaceState(null, "", linkNow()), 200);
}

function linkNow() {
  const here = String(Number(place.toFixed(4)));
  if (mode === "story") return story && story.index ? `#story&step=${story.index + 1}` : "#story";
  if (mode === "films") return `#films&film=${DATA.scenarios[film].key}&at=${here}`;
  const pairs = [...settingsToPairs(lab.settings[0]), ...(lab.comparing ? settingsToPairs(lab.settings[1], "B.") : [])];
  if (lab.comparing) pairs.push(["active", "AB"[lab.active]]);
  pairs.push(["at", here]);
  return `#lab&${pairs.map(([name, value]) => `${name}=${encodeURIComponent(value)}`).join("&")}`;
}

// Shows what the address says; without words for a setting, what was shown last.
function followLink() {
  clearTimeout(noting);
  const [name, ...rest] = location.hash.slice(1).split("&");
  const pairs = new URLSearchParams(rest.join("&"));
  const at = Math.min(1, Math.max(0, Number(pairs.get("at")) || 0));
  if (name === "story") openStory(pairs.get("step"));
  else if (name === "lab") openLab(pairs, at);
  else {
    const found = DATA.scenarios.findIndex((each) => each.key === pairs.get("film"));
    choose(found < 0 ? film : found);
    if (at) goTo(at);
  }
}

function openLab(pairs, at) {
  const fresh = mode !== "lab";
  setMode("lab");
  const given = [...pairs.keys()].some((key) => key !== "at");
  let settings = lab.settings;
  if (given) settings = [settingsFromPairs(pairs), ...([...pairs.keys()].some((key) => key.startsWith("B.")) ? [settingsFromPairs(pairs, "B.")] : [])];
  if (settings[1]) settings[1].end = settings[0].end;
  if (fresh) scene.yaw = beside.yaw = 0.5;
  if (fresh) scene.pitch = beside.pitch = 0.3;
  place = 0;
  lab.take(settings, pairs.get("active") === "B" ? 1 : given ? 0 : lab.active);
  lab.whenDone(() => mode === "lab" && goTo(at));
}

function fullScreen() {
  if (document.fullscreenElement) document.exitFullscreen();
  else document.documentElement.requestFullscreen().catch(() => say("The browser refuses full screen here."));
}

function hidePanels() {
  const hidden = document.body.toggleAttribute("data-bare");
  byId("hide").setAttribute("aria-pressed", String(hidden));
  draw();
}

function changeSpeed() {
  speed = (speed + 1) % SPEEDS.length;
  byId("speed").textContent = `${String(SPEEDS[speed]).replace("0.5", "½")}×`;
  byId("speed").setAttribute("aria-label", `Speed, now ${SPEEDS[speed]} times`);
}

// The scene, or both, as one PNG on white, with time and class names as drawn.
function pictureUrl() {
  const canvases = [scene, ...(mode === "lab" && lab.comparing ? [beside] : [])].map((each) => each.canvas);
  const sheet = document.createElement("canvas");
  const ratio = window.devicePixelRatio || 1;
  const foot = Math.round(40 * ratio);
  sheet.width = canvases.reduce((sum, canvas) => sum + canvas.width, 0);
  sheet.height = canvases[0].height + foot;
  const c = sheet.getContext("2d");
  c.fillStyle = "#fff";
  c.fillRect(0, 0, sheet.width, sheet.height);
  let x = 0;
  canvases.forEach((canvas) => { c.drawImage(canvas, x, 0); x += canvas.width; });
  c.fillStyle = "#1a1a1a";
  c.font = `600 ${Math.round(20 * ratio)}px system-ui, sans-serif`;
  c.fillText(byId("time").textContent, 16 * ratio, sheet.height - 13 * ratio);
  return sheet.toDataURL("image/png");
}

function savePicture() {
  const link = document.createElement("a");
  link.download = `neural-collapse-${mode === "lab" ? "lab" : DATA.scenarios[film].key}.png`;
  link.href = pictureUrl();
  link.click();
  say("The picture is saved.");
}

function copyLink() {
  history.replaceState(null, "", linkNow());
  const copied = navigator.clipboard ? navigator.clipboard.writeText(location.href) : Promise.reject(new Error("no clipboard"));
  copied.then(() => say("The link is copied."), () => say("Copy the link from the address bar."));
}

let saying = null;

function say(words) {
  byId("said").textContent = words;
  clearTimeout(saying);
  saying = setTimeout(() => (byId("said").textContent = ""), 3000);
}

function startTools() {
  const acts = { speed: changeSpeed, hide: hidePanels, save: savePicture, copy: copyLink, full: fullScreen };
  Object.entries(acts).forEach(([id, act]) => byId(id).addEventListener("click", act));
}
