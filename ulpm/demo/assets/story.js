// The story: chapters that scroll past a scene, which shows what the chapter in view speaks of.

const CHAPTER_SECONDS = 9; // from start to end of a chapter's scene
const READINGS = {
  angle: ({ problem }, { y }) => `Smallest angle between two class means: ${smallestAngle(problem, y).toFixed(1)}°`,
  loss: (run, frame) => `Loss ${scientific(frame.logValue / Math.LN10)}. ${frame.bounds.margin > 0 ? "No sample is predicted wrongly." : "Some samples are still predicted wrongly."}`,
  collapse: (run, { metrics }) => METRICS.map(([name, key]) => `${name} ${scientific(Math.log10(metrics[key]))}`).join("   "),
  norms: (run, { norms }) => `Norm of the classifier ${norms[0].toFixed(2)}, of the features ${norms[1].toFixed(2)}`,
  pairs: ({ problem }, { y }) => {
    const { K, d } = problem;
    const angle = (j, k) => `${angleBetween(y, d, j, k).toFixed(0)}°`;
    return `Angle between the rows of the two large classes: ${angle(0, 1)}, of the two small ones: ${angle(K - 2, K - 1)}`;
  },
};

function angleBetween(rows, d, j, k) {
  const cosine = dot(rows, rows, d, j * d, k * d) / Math.sqrt(dot(rows, rows, d, j * d, j * d) * dot(rows, rows, d, k * d, k * d));
  return (180 / Math.PI) * Math.acos(Math.max(-1, Math.min(1, cosine)));
}

function smallestAngle(problem, y) {
  const { K, d } = problem;
  const { centred } = classMeans(problem, y);
  return Math.min(...allPairs(K).map(([j, k]) => angleBetween(centred, d, j, k)));
}

class Story {
  constructor(chapters) {
    this.scene = new Scene(byId("tale-scene"));
    this.chapters = chapters;
    this.place = 0;
    this.runs = new Map();
    this.sections = chapters.map((chapter, i) => {
      const section = make("section", "", byId("steps"));
      section.innerHTML = `<h2>${i + 1}. ${chapter.title}</h2>${chapter.text}<p><a>${chapter.lab ? "Open this in the laboratory" : "Open this film"}</a></p>`;
      const link = section.querySelector("p:last-child a");
      link.href = chapter.lab ? `#lab&${settingsToPairs(settingsOf(chapter)).map((pair) => pair.join("=")).join("&")}` : `#films&film=${chapter.film}`;
      return section;
    });
    this.attach();
  }

  attach() {
    const { canvas } = this.scene;
    // The chapter that crosses the middle of what is seen of the text.
    const seen = new IntersectionObserver((entries) => {
      entries.filter((entry) => entry.isIntersecting).forEach((entry) => this.open(this.sections.indexOf(entry.target)));
    }, { rootMargin: "-60% 0px -39% 0px" });
    this.sections.forEach((section) => seen.observe(section));
    byId("tale-play").addEventListener("click", () => this.setPlaying(!this.playing));
    byId("tale-slider").addEventListener("input", (event) => { this.setPlaying(false); this.goTo(event.target.value / 1000); });
    canvas.addEventListener("pointerdown", (event) => {
      canvas.setPointerCapture(event.pointerId);
      const box = canvas.getBoundingClientRect();
      const found = this.run && this.scene.hit(event.clientX - box.left, event.clientY - box.top, this.frame);
      if (!found) return;
      this.setPlaying(false);
      const frame = Math.round(this.frame);
      this.goTo(frame / (FRAMES - 1));
      this.held = { moves: this.run.settings.moves, move: { frame, ...found, by: this.scene.flat ? [0, 0] : [0, 0, 0] } };
    });
    canvas.addEventListener("pointermove", (event) => {
      if (!event.buttons) return;
      if (this.held) this.drag(this.scene.unproject(event.movementX, event.movementY));
      else { this.scene.turn(-0.01 * event.movementX, 0.01 * event.movementY); this.draw(); }
    });
    canvas.addEventListener("pointerup", () => {
      if (!this.held) return;
      this.held = null;
      this.finish();
      this.setPlaying(true);
    });
    canvas.addEventListener("keydown", (event) => {
      const turns = { ArrowLeft: [-0.12, 0], ArrowRight: [0.12, 0], ArrowUp: [0, 0.12], ArrowDown: [0, -0.12] };
      if (!turns[event.key]) return;
      event.preventDefault();
      this.scene.turn(...turns[event.key]);
      this.draw();
    });
    new ResizeObserver(() => this.picture && this.draw()).observe(canvas);
  }

  get frame() {
    return Math.min(this.scene.rows.length - 1, frameAt(this.picture.clock.positions, this.place));
  }

  open(index) {
    if (mode !== "story" || this.index === index) return;
    this.index = index;
    this.chapter = this.chapters[index];
    this.sections.forEach((section, i) => section.classList.toggle("now", i === index));
    this.run = null;
    if (this.chapter.lab) {
      if (!this.runs.has(index)) this.runs.set(index, new Run(settingsOf(this.chapter)));
      this.run = this.runs.get(index);
      this.picture = pictureOf(this.run, []);
      this.refreshed = performance.now();
    } else this.picture = DATA.scenarios.find((each) => each.key === this.chapter.film);
    this.scene.show(this.picture);
    this.goTo(0);
    noteLink();
    byId("tale-scene").setAttribute("aria-label", `${this.chapter.title} Features, class means and classifier, which move with the slider.`);
    if (still.matches) this.goTo(this.end);
    else this.setPlaying(true);
    this.work();
  }

  get end() {
    return this.chapter.until || 1;
  }

  // How far the picture goes: that of a run which is still computed ends before the slider does.
  get ready() {
    return this.picture.ready ?? 1;
  }

  // Computes a little at a time, and shows what there is.
  work() {
    if (this.working || !this.run) return;
    const run = this.run;
    run.work(SLICE);
    this.working = !run.done;
    if (run.done) return this.refresh();
    if (performance.now() - this.refreshed > 400) this.refresh();
    setTimeout(() => { this.working = false; this.work(); }, 0);
    return undefined;
  }

  // The rest at once, as after a move.
  finish() {
    while (!this.run.work(1000));
    this.refresh();
  }

  refresh() {
    this.picture = pictureOf(this.run, []);
    this.refreshed = performance.now();
    this.scene.load(this.picture);
    if (this.playing) this.draw();
    else this.goTo(this.wanted);
  }

  drag(by) {
    const { moves, move } = this.held;
    move.by = move.by.map((x, p) => x + by[p]);
    this.run.change(withMove(moves, move));
    this.refresh();
  }

  // As far as the picture goes, and on from there once it goes further.
  goTo(where) {
    this.wanted = Math.max(0, Math.min(1, where));
    this.place = Math.min(this.ready, this.wanted);
    this.draw();
  }

  draw() {
    const nearest = Math.round(this.frame);
    this.scene.draw(this.frame);
    const words = this.picture.clock.words[Math.round(frameAt(this.picture.clock.positions, this.place))];
    byId("tale-time").textContent = words;
    byId("tale-slider").value = Math.round(1000 * this.place);
    byId("tale-slider").setAttribute("aria-valuetext", words);
    byId("tale-reading").textContent = this.reading(nearest);
  }

  reading(frame) {
    if (this.run) return this.chapter.read ? READINGS[this.chapter.read](this.run, this.run.frames[Math.min(frame, this.run.frames.length - 1)]) : "";
    const panels = this.chapter.panels.map((p) => this.picture.panels[p]);
    return panels.flatMap((panel) => panel.curves.map((curve) => `${curve.name} ${curve.words[frame]}`)).join("   ");
  }

  setPlaying(now) {
    this.playing = now;
    byId("tale-play").setAttribute("aria-pressed", String(now));
    byId("tale-play").setAttribute("aria-label", now ? "Pause" : "Play");
    if (!now) return;
    if (this.place >= this.end) this.place = 0;
    this.latest = performance.now();
    if (!this.ticking) requestAnimationFrame((time) => this.tick(time));
    this.ticking = true;
  }

  tick(now) {
    this.ticking = false;
    if (!this.playing || mode !== "story") return;
    const seconds = Math.min(0.1, (now - this.latest) / 1000);
    this.latest = now;
    if (!still.matches) this.scene.turn(TURN * seconds, 0);
    this.goTo(Math.min(this.end, this.place + seconds / CHAPTER_SECONDS));
    if (this.place >= this.end) return this.setPlaying(false);
    this.ticking = true;
    requestAnimationFrame((time) => this.tick(time));
    return undefined;
  }
}

function settingsOf({ lab: given }) {
  return { ...firstSettings(), ...given };
}

let story = null;

// Opens the story, at a chapter if one is named.
function openStory(number) {
  setMode("story");
  if (!story) story = new Story(CHAPTERS.filter((chapter) => chapter.lab || DATA.scenarios.some((each) => each.key === chapter.film)));
  const index = Math.min(story.sections.length, Math.max(1, Math.round(Number(number)) || 1)) - 1;
  story.index = undefined;
  if (number) story.sections[index].scrollIntoView();
  else window.scrollTo(0, 0);
  story.open(index);
}
