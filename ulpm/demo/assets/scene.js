// The scene: an orthographic view, with a little perspective, of marks on two or three axes, drawn on a 2-D canvas.

// Okabe and Ito, "Color Universal Design", 2008; the shapes tell the classes apart without colour.
const COLORS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#F0E442"];
const SHAPES = ["circle", "square", "up", "diamond", "down", "plus", "cross", "left", "right", "pentagon"];
const PERSPECTIVE = 0.16;

function decodeMarks(text, scale, frames, axes) {
  const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  const integers = new Int16Array(bytes.buffer);
  const size = integers.length / frames;
  return Array.from({ length: frames }, (_, f) => {
    const points = [];
    for (let i = f * size; i < (f + 1) * size; i += axes) {
      points.push(Array.from(integers.subarray(i, i + axes), (x) => x * scale));
    }
    return points;
  });
}

const PIXELS = 28;

// Gray pictures, one a class, dark on light, as canvases to draw from.
function decodePictures(text) {
  const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  return Array.from({ length: bytes.length / PIXELS ** 2 }, (_, k) => {
    const canvas = document.createElement("canvas");
    canvas.width = canvas.height = PIXELS;
    const image = new ImageData(PIXELS, PIXELS);
    for (let i = 0; i < PIXELS ** 2; i++) image.data.set([...Array(3).fill(255 - bytes[k * PIXELS ** 2 + i]), 255], 4 * i);
    canvas.getContext("2d").putImageData(image, 0, 0);
    return canvas;
  });
}

class Scene {
  constructor(canvas) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d");
  }

  show(scenario) {
    this.load(scenario);
    this.yaw = 0.5;
    this.pitch = 0.3;
  }

  // Takes the marks and leaves the view: those of a film are packed, those of the laboratory are points.
  load(scenario) {
    this.scenario = scenario;
    for (const name of ["rows", "means", "features"]) {
      const packed = typeof scenario[name] === "string";
      this[name] = packed ? decodeMarks(scenario[name], scenario.scale, scenario.clock.positions.length, scenario.axes) : scenario[name];
    }
    const frames = this.rows.length;
    this.images = scenario.pictures ? decodePictures(scenario.pictures) : null;
    const length = (points) => Math.max(...points.map((p) => Math.hypot(...p)));
    const end = Math.max(length(this.rows[frames - 1]), length(this.means[frames - 1]));
    const all = Math.max(...this.rows.map(length), ...this.features.map(length));
    this.reach = Math.min(Math.max(1.04 * end, all), 1.2 * end);
    this.target = scenario.target;
    this.edges = this.target ? this.target.edges : allPairs(scenario.classNames.length);
    this.flat = scenario.axes === 2;
  }

  turn(yaw, pitch) {
    this.yaw += yaw;
    this.pitch = Math.max(-1.4, Math.min(1.4, this.pitch + pitch));
  }

  // Where a point is on the canvas, with its depth: x to the right, y down, depth towards the eye.
  project(point) {
    if (this.flat) return [this.x + this.unit * point[0], this.y - this.unit * point[1], 0];
    const [cosine, sine] = [Math.cos(this.yaw), Math.sin(this.yaw)];
    const right = cosine * point[0] - sine * point[1];
    const away = sine * point[0] + cosine * point[1];
    const up = Math.cos(this.pitch) * point[2] + Math.sin(this.pitch) * away;
    const depth = (Math.sin(this.pitch) * point[2] - Math.cos(this.pitch) * away) / this.reach;
    const nearer = this.unit / (1 - PERSPECTIVE * depth);
    return [this.x + nearer * right, this.y - nearer * up, depth];
  }

  // The class mean or the tip of the row that is drawn at a place of the canvas, or null.
  hit(x, y, frame) {
    let best = null;
    for (const [kind, reach] of [["mean", 17], ["row", 17]]) {
      between(kind === "mean" ? this.means : this.rows, frame).forEach((point, k) => {
        const [px, py] = this.project(point);
        const distance = Math.hypot(px - x, py - y);
        if (distance < reach && !(best && best.distance <= distance + 4)) best = { kind, k, distance };
      });
    }
    return best;
  }

  // What a way on the screen, in pixels, is in the plane of the view.
  unproject(right, down) {
    const [x, up] = [right / this.unit, -down / this.unit];
    if (this.flat) return [x, up];
    const [cosine, sine] = [Math.cos(this.yaw), Math.sin(this.yaw)];
    return [cosine * x + Math.sin(this.pitch) * sine * up, -sine * x + Math.sin(this.pitch) * cosine * up, Math.cos(this.pitch) * up];
  }

  draw(frame) {
    const ratio = window.devicePixelRatio || 1;
    const { clientWidth: width, clientHeight: height } = this.canvas;
    if (!width || !height) return;
    if (this.canvas.width !== Math.round(width * ratio) || this.canvas.height !== Math.round(height * ratio)) {
      this.canvas.width = Math.round(width * ratio);
      this.canvas.height = Math.round(height * ratio);
    }
    this.context.setTransform(ratio, 0, 0, ratio, 0, 0);
    this.context.clearRect(0, 0, width, height);
    this.x = width / 2;
    this.y = height / 2;
    this.unit = (Math.min(width, height) / 2 - 30) / this.reach;
    this.size = Math.max(0.75, Math.min(1.25, Math.min(width, height) / 420));
    this.drawLines(between(this.means, frame));
    this.drawMarks(frame);
  }

  // The unit sphere, the target and the edges between the present class means.
  drawLines(means) {
    const c = this.context;
    if (this.unit < Math.min(this.x, this.y)) {
      c.lineWidth = 1;
      c.strokeStyle = "#d5dade";
      c.beginPath();
      c.arc(this.x, this.y, this.unit, 0, 2 * Math.PI);
      c.stroke();
    }
    const many = means.length > 6;
    if (this.target) {
      c.setLineDash([6, 5]);
      c.strokeStyle = many ? "#1a1a1a55" : "#1a1a1acc";
      c.lineWidth = many ? 0.8 : 1.4;
      this.edges.forEach(([j, k]) => this.line(this.target.means[j], this.target.means[k]));
      c.setLineDash([]);
      c.lineWidth = 1.5;
      c.strokeStyle = "#1a1a1a";
      this.target.rows.forEach((row) => {
        const [x, y] = this.project(row);
        c.beginPath();
        c.arc(x, y, 9 * this.size, 0, 2 * Math.PI);
        c.stroke();
      });
    }
    c.lineWidth = many ? 0.8 : 1.6;
    c.strokeStyle = many ? "#7f8a9366" : "#7f8a93";
    this.edges.forEach(([j, k]) => this.line(means[j], means[k]));
  }

  line(from, to) {
    const [[x0, y0], [x1, y1]] = [this.project(from), this.project(to)];
    this.context.beginPath();
    this.context.moveTo(x0, y0);
    this.context.lineTo(x1, y1);
    this.context.stroke();
  }

  // Features, arrows and means, the farthest first; names last, so that nothing covers them.
  drawMarks(frame) {
    const c = this.context;
    const rows = between(this.rows, frame).map((p) => this.project(p));
    const centre = this.project(Array(this.scenario.axes).fill(0));
    const drawn = [];
    between(this.features, frame).forEach((point, i) => {
      const [x, y, depth] = this.project(point);
      const k = this.scenario.featureClasses[i];
      const pictured = this.scenario.pictured && (i === 0 || this.scenario.featureClasses[i - 1] !== k);
      if (pictured) drawn.push([depth, () => this.image(x, y, 26 * this.size, k)]);
      else drawn.push([depth, () => this.mark(x, y, 4.6 * this.size * (1 + 0.25 * depth), k, 0.62, null)]);
    });
    between(this.means, frame).forEach((point, k) => {
      const [x, y, depth] = this.project(point);
      drawn.push([depth + 1e-3, () => this.mark(x, y, 8.5 * this.size * (1 + 0.25 * depth), k, 1, "#000")]);
    });
    const ghosts = this.scenario.ghosts && this.scenario.ghosts[Math.round(frame)];
    (ghosts || []).forEach((point, k) => {
      const [x, y, depth] = this.project(point);
      drawn.push([depth + 2e-3, () => this.ghost(x, y, 9 * this.size * (1 + 0.25 * depth), k)]);
    });
    rows.forEach(([x, y, depth], k) => drawn.push([depth / 2, () => this.arrow(centre, [x, y], k)]));
    drawn.sort((a, b) => a[0] - b[0]).forEach(([, paint]) => paint());
    c.font = `600 ${Math.round(17 * Math.sqrt(this.size))}px system-ui, sans-serif`;
    c.textBaseline = "middle";
    c.lineJoin = "round";
    this.taken = [];
    if (this.chosen && this.chosen.k < rows.length) {
      const [x, y] = this.chosen.kind === "row" ? rows[this.chosen.k] : this.project(between(this.means, frame)[this.chosen.k]);
      c.lineWidth = 2.5;
      c.strokeStyle = "#1a1a1a";
      c.beginPath();
      c.arc(x, y, 15 * this.size, 0, 2 * Math.PI);
      c.stroke();
    }
    rows.forEach(([x, y], k) => this.name(this.scenario.classNames[k], x, y, centre));
  }

  // A class's name beyond the tip of its arrow, moved up or down where another name is.
  name(text, x, y, centre) {
    const c = this.context;
    const length = Math.hypot(x - centre[0], y - centre[1]) || 1;
    const [right, down] = [(x - centre[0]) / length, (y - centre[1]) / length];
    c.textAlign = right > 0.3 ? "left" : right < -0.3 ? "right" : "center";
    const icon = this.images ? 28 : 0;
    const half = c.measureText(text).width + icon;
    const left = c.textAlign === "left" ? 0 : c.textAlign === "right" ? half : half / 2;
    const edge = Math.max(4 + left, Math.min(this.canvas.clientWidth - 4 - half + left, x + 17 * right));
    const place = (by) => Math.max(12, Math.min(this.canvas.clientHeight - 12, y + 20 * down + by));
    const apart = icon ? 25 : 17;
    const free = (at) => this.taken.every(([l, r, t]) => edge - left > r || edge - left + half < l || Math.abs(at - t) > apart);
    const level = [0, 1, -1, 2, -2, 3, -3].map((steps) => place(steps * (apart + 1))).find(free) ?? place(0);
    this.taken.push([edge - left, edge - left + half, level]);
    if (icon) this.image(edge - left + 12, level, 24, this.scenario.classNames.indexOf(text));
    c.textAlign = "left";
    c.lineWidth = 5;
    c.strokeStyle = "#fffe";
    c.strokeText(text, edge - left + icon, level);
    c.fillStyle = "#111";
    c.fillText(text, edge - left + icon, level);
  }

  // The picture of a class in a frame of its colour.
  image(x, y, size, k) {
    const c = this.context;
    c.drawImage(this.images[k], x - size / 2, y - size / 2, size, size);
    c.lineWidth = 2;
    c.strokeStyle = COLORS[k % COLORS.length];
    c.strokeRect(x - size / 2, y - size / 2, size, size);
  }

  arrow(from, to, k) {
    const c = this.context;
    const [dx, dy] = [to[0] - from[0], to[1] - from[1]];
    const length = Math.hypot(dx, dy);
    const head = Math.min(14 * this.size, 0.6 * length);
    if (length < 1) return;
    const [ux, uy] = [dx / length, dy / length];
    const neck = [to[0] - head * ux, to[1] - head * uy];
    for (const [color, width] of [["#fff", 6.5], ["#0009", 4.6], [COLORS[k % COLORS.length], 3.2]]) {
      c.strokeStyle = c.fillStyle = color;
      c.lineWidth = width * this.size;
      c.beginPath();
      c.moveTo(from[0], from[1]);
      c.lineTo(neck[0], neck[1]);
      c.stroke();
    }
    c.lineWidth = 1;
    c.strokeStyle = "#0009";
    c.beginPath();
    c.moveTo(to[0], to[1]);
    c.lineTo(neck[0] - 0.5 * head * uy, neck[1] + 0.5 * head * ux);
    c.lineTo(neck[0] + 0.5 * head * uy, neck[1] - 0.5 * head * ux);
    c.closePath();
    c.fill();
    c.stroke();
  }

  // An open mark: a class mean of gradient descent.
  ghost(x, y, size, k) {
    const c = this.context;
    this.trace(x, y, size, k);
    for (const [color, width] of [["#000", 4], [COLORS[k % COLORS.length], 2]]) {
      c.strokeStyle = color;
      c.lineWidth = width;
      c.stroke();
    }
  }

  trace(x, y, size, k) {
    const c = this.context;
    c.beginPath();
    outlineOf(SHAPES[k % SHAPES.length]).forEach(([a, b], i) => {
      if (i) c.lineTo(x + size * a, y + size * b);
      else c.moveTo(x + size * a, y + size * b);
    });
    c.closePath();
  }

  mark(x, y, size, k, opacity, outline) {
    const c = this.context;
    c.globalAlpha = opacity;
    c.fillStyle = COLORS[k % COLORS.length];
    this.trace(x, y, size, k);
    c.fill();
    c.globalAlpha = 1;
    if (!outline) return;
    c.strokeStyle = outline;
    c.lineWidth = 1.6;
    c.stroke();
  }
}

function polygon(corners, start) {
  return Array.from({ length: corners }, (_, i) => {
    const angle = start + (2 * Math.PI * i) / corners;
    return [Math.cos(angle), Math.sin(angle)];
  });
}

const PLUS = [[-1, -3], [1, -3], [1, -1], [3, -1], [3, 1], [1, 1], [1, 3], [-1, 3], [-1, 1], [-3, 1], [-3, -1], [-1, -1]];
const OUTLINES = {
  circle: polygon(24, 0),
  square: polygon(4, Math.PI / 4),
  up: polygon(3, -Math.PI / 2),
  diamond: polygon(4, 0),
  down: polygon(3, Math.PI / 2),
  plus: PLUS.map(([a, b]) => [a / 2.6, b / 2.6]),
  cross: PLUS.map(([a, b]) => [(a - b) / 3.7, (a + b) / 3.7]),
  left: polygon(3, Math.PI),
  right: polygon(3, 0),
  pentagon: polygon(5, -Math.PI / 2),
};

function outlineOf(shape) {
  return OUTLINES[shape];
}

function allPairs(count) {
  const pairs = [];
  for (let j = 0; j < count; j++) for (let k = j + 1; k < count; k++) pairs.push([j, k]);
  return pairs;
}

// The points at a frame between two, on the straight line from one to the other.
function between(frames, frame) {
  const before = Math.floor(frame);
  const share = frame - before;
  if (share === 0 || before + 1 >= frames.length) return frames[Math.min(before, frames.length - 1)];
  return frames[before].map((p, i) => p.map((x, axis) => x + share * (frames[before + 1][i][axis] - x)));
}
