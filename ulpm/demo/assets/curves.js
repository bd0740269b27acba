// The panels: curves by plotly on the common time axis, a cursor above them, and the present values in words.

const LINES = [
  { color: "#0072B2", dash: "solid", strokes: "" },
  { color: "#D55E00", dash: "7px,4px", strokes: "7 4" },
  { color: "#00795a", dash: "2px,3px", strokes: "2 3" },
];
const MARGIN = { l: 62, r: 26, t: 6, b: 10 };
const LAST_MARGIN = { ...MARGIN, b: 42 };

class Curves {
  constructor(root, seek) {
    this.root = root;
    this.seek = seek;
  }

  show(scenario) {
    this.scenario = scenario;
    this.root.querySelectorAll(".plot > div:first-child").forEach((plot) => Plotly.purge(plot));
    this.root.replaceChildren();
    this.panels = scenario.panels.map((panel) => this.add(panel));
    // Only now do the plots have their sizes.
    this.panels.forEach(({ panel, plot, margin }) => {
      Plotly.newPlot(plot, traces(scenario, panel), layout(scenario, panel, margin), { displayModeBar: false });
      new ResizeObserver(() => plot.isConnected && plot.clientWidth && Plotly.Plots.resize(plot)).observe(plot.parentElement);
    });
  }

  // Other numbers in the same panels, without building them again.
  update(scenario) {
    const names = (panels) => panels.map((panel) => [panel.title, ...panel.curves.map((curve) => curve.name)].join()).join();
    if (!this.scenario || names(this.scenario.panels) !== names(scenario.panels)) {
      this.show(scenario);
      return;
    }
    this.scenario = scenario;
    this.panels.forEach((each, i) => {
      each.panel = scenario.panels[i];
      Plotly.react(each.plot, traces(scenario, each.panel), layout(scenario, each.panel, each.margin), { displayModeBar: false });
    });
  }

  add(panel) {
    const last = panel === this.scenario.panels[this.scenario.panels.length - 1];
    const section = make("section", "panel", this.root);
    make("h2", "", section).textContent = panel.title;
    const list = make("ul", "", section);
    const values = panel.curves.map((curve, i) => {
      const item = make("li", "", list);
      const { color, strokes } = LINES[i];
      item.innerHTML = `<svg aria-hidden="true"><line x1="0" y1="4" x2="24" y2="4" stroke="${color}" stroke-width="3" stroke-dasharray="${strokes}"/></svg>`;
      item.append(curve.name + " ");
      return [make("b", "", item), make("small", "", item)];
    });
    const frame = make("div", "plot", section);
    const plot = make("div", "", frame);
    const cursor = make("div", "cursor", frame);
    const margin = last ? LAST_MARGIN : MARGIN;
    frame.addEventListener("pointerdown", (event) => {
      const box = frame.getBoundingClientRect();
      this.seek((event.clientX - box.left - margin.l) / (box.width - margin.l - margin.r));
    });
    return { panel, values, cursor, plot, margin };
  }

  draw(frame, place) {
    const nearest = Math.round(frame);
    for (const { panel, values, cursor } of this.panels) {
      values.forEach(([value, beside], i) => {
        value.textContent = panel.curves[i].words[nearest];
        beside.textContent = (panel.curves[i].others || []).map((other) => `${other.name} ${other.words[nearest]}`).join("  ");
      });
      cursor.style.left = `calc(${MARGIN.l}px + ${place} * (100% - ${MARGIN.l + MARGIN.r}px))`;
    }
  }
}

function traces(scenario, panel) {
  const x = scenario.clock.positions;
  const found = panel.curves.map((curve, i) => ({
    x,
    y: curve.heights,
    text: curve.words.map((word, f) => `${curve.name} ${word}<br>${scenario.clock.words[f]}`),
    hoverinfo: "text",
    mode: x.length < 40 ? "lines+markers" : "lines",
    marker: { size: 5 },
    line: { color: LINES[i].color, dash: LINES[i].dash, width: 2.6 },
  }));
  panel.curves.forEach((curve, i) => {
    (curve.others || []).forEach((other, o) => {
      found.unshift({
        x,
        y: other.heights,
        text: other.words.map((word, f) => `${other.name}: ${curve.name} ${word}<br>${scenario.clock.words[f]}`),
        hoverinfo: "text",
        mode: "lines",
        opacity: 0.75,
        line: { color: o ? "#555" : LINES[i].color, dash: LINES[i].dash, width: 1.3 },
      });
    });
  });
  panel.curves.forEach((upper, i) => {
    if (!upper.band) return;
    const lower = panel.curves[i + 1];
    const both = x.map((_, f) => f).filter((f) => upper.heights[f] !== null && lower.heights[f] !== null);
    const back = [...both].reverse();
    found.unshift({
      x: [...both, ...back].map((f) => x[f]),
      y: [...both.map((f) => upper.heights[f]), ...back.map((f) => lower.heights[f])],
      fill: "toself",
      fillcolor: "rgba(0,114,178,0.13)",
      line: { width: 0 },
      mode: "lines",
      hoverinfo: "skip",
    });
  });
  return found;
}

function layout(scenario, panel, margin) {
  const axis = { zeroline: false, fixedrange: true, gridcolor: "#e6e9ec", linecolor: "#888", ticks: "outside", ticklen: 4, showline: true };
  const ticked = (ticks) => ({ tickvals: ticks.map(([at]) => at), ticktext: ticks.map(([, label]) => label) });
  const [level, end, last] = [panel.level, panel.level_end, margin === LAST_MARGIN];
  return {
    margin,
    showlegend: false,
    dragmode: false,
    hovermode: "closest",
    font: { family: "system-ui, sans-serif", size: 14, color: "#333" },
    xaxis: { ...axis, range: [0, 1], ...ticked(scenario.clock.ticks), showticklabels: last, title: last ? { text: scenario.clock.title, standoff: 2 } : undefined },
    yaxis: { ...axis, range: panel.range, ...ticked(panel.ticks) },
    shapes: level ? [{ type: "line", x0: 0, x1: 1, y0: level[0], y1: level[0], line: { color: "#1a1a1a", width: 1.4, dash: "4px,4px" } }] : [],
    annotations: level
      ? [{ x: end === "left" ? 0.005 : 0.995, y: level[0], xanchor: end, yanchor: "bottom", text: level[1], showarrow: false, font: { size: 14, color: "#1a1a1a" } }]
      : [],
  };
}

function make(tag, className, parent) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  parent.append(element);
  return element;
}
