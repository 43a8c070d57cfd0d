// Curves and the radar, as SVG.

const FRAME = { width: 420, height: 320, left: 44, right: 12, top: 30, bottom: 42 };

/** One plot of curves with a cross-hair; PlotKind of plots.py says what it shows. */
function curvePlot(kind) {
  const { width, height, left, right, top, bottom } = FRAME;
  const x = (value) => left + (value / kind.last) * (width - left - right);
  const y = (value) => top + (1 - value / 100) * (height - top - bottom);
  const svg = make("svg", { viewBox: `0 0 ${width} ${height}`, class: "plot", role: "img", "aria-label": kind.title });
  svg.append(make("text", { x: left, y: 18, class: "plot-title" }, kind.title));
  for (let i = 0; i <= 5; i++) {
    const value = Number(((kind.last * i) / 5).toFixed(3));
    svg.append(
      make("line", { x1: left, x2: width - right, y1: y(i * 20), y2: y(i * 20), class: "grid" }),
      make("text", { x: left - 6, y: y(i * 20) + 4, class: "tick", "text-anchor": "end" }, String(i * 20)),
      make("text", { x: x(value), y: height - bottom + 16, class: "tick", "text-anchor": "middle" }, String(value)),
    );
  }
  svg.append(
    make(
      "text",
      { x: (left + width - right) / 2, y: height - 6, class: "tick", "text-anchor": "middle" },
      kind.x_label,
    ),
    make("text", { x: 12, y: 18, class: "tick" }, "%"),
  );
  if (kind.score_at != null)
    svg.append(make("line", { x1: x(kind.score_at), x2: x(kind.score_at), y1: top, y2: y(0), class: "mark" }));
  for (const { tracker } of shown().reverse()) {
    const curve = tracker.curves[kind.curve];
    const points = curve.map(
      (value, i) => `${x((kind.last * i) / (curve.length - 1)).toFixed(1)} ${y(value).toFixed(1)}`,
    );
    svg.append(
      make("path", {
        d: `M${points.join("L")}`,
        class: "curve",
        stroke: colorOf(tracker),
        "data-tracker": tracker.label,
        "stroke-dasharray": tracker.dashes.map((length) => length * 2).join(" ") || null,
      }),
    );
  }
  const cross = make("line", { y1: top, y2: y(0), class: "cross", visibility: "hidden" });
  svg.append(cross);
  svg.addEventListener("pointermove", (event) => {
    const box = svg.getBoundingClientRect();
    const share = (((event.clientX - box.left) / box.width) * width - left) / (width - left - right);
    const steps = trackers()[0].curves[kind.curve].length - 1,
      step = Math.round(share * steps);
    if (step < 0 || step > steps) return leave();
    const threshold = (kind.last * step) / steps;
    for (const side of ["x1", "x2"]) cross.setAttribute(side, x(threshold));
    cross.setAttribute("visibility", "visible");
    const rows = shown().sort(
      (one, two) => two.tracker.curves[kind.curve][step] - one.tracker.curves[kind.curve][step],
    );
    showTip(event, [
      `${kind.x_label}: ${Number(threshold.toFixed(3))}`,
      ...rows.map(({ tracker }) =>
        make(
          "span",
          { class: "tip-row" },
          swatch(tracker),
          `${tracker.curves[kind.curve][step].toFixed(1)} `,
          tracker.label,
        ),
      ),
    ]);
  });
  const leave = () => {
    cross.setAttribute("visibility", "hidden");
    hideTip();
  };
  svg.addEventListener("pointerleave", leave);
  return svg;
}

/** Headline score by attribute, one spoke each; from three attributes on. */
function radar(groups) {
  if (groups.length < 3) return null;
  const size = 460,
    middle = size / 2,
    radius = 148;
  const highest = Math.min(
    100,
    Math.max(10, Math.ceil(Math.max(...groups.flatMap((group) => group.values)) / 10) * 10),
  );
  const angle = (i) => (2 * Math.PI * i) / groups.length - Math.PI / 2;
  const at = (i, value) => [
    middle + (Math.cos(angle(i)) * radius * value) / highest,
    middle + (Math.sin(angle(i)) * radius * value) / highest,
  ];
  const ring = (values) =>
    values
      .map((value, i) =>
        at(i, value)
          .map((number) => number.toFixed(1))
          .join(","),
      )
      .join(" ");
  const svg = make("svg", {
    viewBox: `-80 20 ${size + 160} ${size - 40}`,
    class: "plot radar",
    role: "img",
    "aria-label": "Scores by attribute",
  });
  for (let i = 1; i <= 4; i++) {
    const level = (highest * i) / 4;
    svg.append(
      make("polygon", { points: ring(groups.map(() => level)), class: "grid" }),
      make("text", { x: middle + 3, y: at(0, level)[1] + 10, class: "tick" }, String(Number(level.toFixed(1)))),
    );
  }
  groups.forEach((group, i) => {
    const [spokeX, spokeY] = at(i, highest),
      [x, y] = at(i, highest * 1.08),
      side = Math.cos(angle(i));
    const name = group.name.length > 22 ? `${group.name.slice(0, 21)}…` : group.name;
    svg.append(
      make("line", { x1: middle, y1: middle, x2: spokeX, y2: spokeY, class: "grid" }),
      make(
        "text",
        { x, y: y + 4, class: "tick", "text-anchor": Math.abs(side) < 0.1 ? "middle" : side > 0 ? "start" : "end" },
        name,
      ),
    );
  });
  for (const { tracker, index } of shown().reverse()) {
    svg.append(
      make("polygon", {
        points: ring(groups.map((group) => group.values[index])),
        class: "curve",
        stroke: colorOf(tracker),
        "stroke-dasharray": tracker.dashes.map((length) => length * 2).join(" ") || null,
      }),
    );
  }
  return svg;
}

function drawCharts() {
  byId("legend").replaceChildren(...trackers().map(trackerBox));
  byId("plots").replaceChildren(...state.benchmark.plots.map(curvePlot));
  const groups = state.benchmark.groups.attribute;
  byId("radar").replaceChildren(...[radar(groups)].filter(Boolean));
}
