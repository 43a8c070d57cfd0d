// Overlap and score over time. The curves are drawn once for a range of frames, the cursor on a canvas above them.

const SPAN_HEIGHT = 7;
const range = { from: 0, to: 1 }; // frames, the end left out

function resetTimeline() {
  range.from = 0;
  range.to = currentSequence().length;
}

function sizeCanvas(canvas, height) {
  const ratio = devicePixelRatio || 1,
    width = Math.max(50, canvas.parentElement.clientWidth);
  canvas.width = width * ratio;
  canvas.height = height * ratio;
  canvas.style.height = `${height}px`;
  const context = canvas.getContext("2d");
  context.scale(ratio, ratio);
  return { context, width };
}

const styleOf = (name) => getComputedStyle(document.documentElement).getPropertyValue(name);
const timelineHeight = () => (currentSequence().has_score.some(Boolean) ? 190 : 110) + spansHeight();
const spansHeight = () => shown().length * (SPAN_HEIGHT + 1) + 4;
const frameX = (frame, width) => ((frame + 0.5 - range.from) / (range.to - range.from)) * width;

function drawTimeline() {
  if (!view.frames) return;
  const { context, width } = sizeCanvas(byId("timeline"), timelineHeight());
  context.clearRect(0, 0, width, timelineHeight());
  const first = view.frames.overlaps[0];
  // No target: gray from top to bottom.
  context.fillStyle = styleOf("--line");
  eachColumn(width, (x, from, to) => {
    if (first && first[from] === NOTHING && first[to - 1] === NOTHING) context.fillRect(x, 0, 1, 100);
  });
  drawTrace(context, width, 4, "IoU", view.frames.overlaps);
  if (currentSequence().has_score.some(Boolean)) drawTrace(context, width, 86, "Score", view.frames.scores);
  drawSpans(context, width, timelineHeight() - spansHeight() + 2);
  byId("timeline-note").textContent =
    `Frames ${range.from} – ${range.to - 1}. Bars: failures, each in the color of its tracker` +
    (currentSequence().has_score.some(Boolean) ? "; dark line below: its own score is under 0.5." : ".");
  drawCursor();
}

/** Call draw(x, from, to) for the frames of each column of pixels, at least one. */
function eachColumn(width, draw) {
  const step = (range.to - range.from) / width;
  for (let x = 0; x < width; x++) {
    const from = Math.min(range.to - 1, Math.floor(range.from + x * step));
    draw(x, from, Math.max(from + 1, Math.min(range.to, Math.floor(range.from + (x + 1) * step))));
  }
}

function drawTrace(context, width, top, title, levels) {
  const height = 72,
    y = (level) => top + height * (1 - level / LEVELS);
  context.strokeStyle = styleOf("--line");
  context.lineWidth = 1;
  context.setLineDash([]);
  for (const level of [0, 0.5, 1]) {
    context.beginPath();
    context.moveTo(0, y(level * LEVELS));
    context.lineTo(width, y(level * LEVELS));
    context.stroke();
  }
  for (const { tracker, index } of shown().reverse()) {
    if (!levels[index]) continue;
    context.strokeStyle = colorOf(tracker);
    context.lineWidth = 1.6;
    context.setLineDash(tracker.dashes.map((length) => length * 2));
    context.beginPath();
    if (range.to - range.from <= 2 * width) traceFrames(context, width, levels[index], y);
    else traceColumns(context, width, levels[index], y);
    context.stroke();
  }
  context.setLineDash([]);
  context.font = "11px system-ui, sans-serif";
  for (const [text, place] of [
    [`${title} 1`, top + 11],
    ["0", top + height - 2],
  ]) {
    context.fillStyle = styleOf("--panel");
    context.fillRect(0, place - 10, context.measureText(text).width + 6, 12);
    context.fillStyle = styleOf("--muted");
    context.fillText(text, 3, place);
  }
}

function traceFrames(context, width, levels, y) {
  let isOpen = false;
  for (let frame = range.from; frame < range.to; frame++) {
    const level = levels[frame],
      x = frameX(frame, width);
    if (level === NOTHING) isOpen = false;
    else if (isOpen) context.lineTo(x, y(level));
    else {
      context.moveTo(x, y(level));
      isOpen = true;
    }
  }
}

/** More frames than pixels: from the lowest to the highest level of each column, so that no short drop is lost. */
function traceColumns(context, width, levels, y) {
  eachColumn(width, (x, from, to) => {
    let low = NOTHING,
      high = -1;
    for (let frame = from; frame < to; frame++) {
      const level = levels[frame];
      if (level === NOTHING) continue;
      if (level < low) low = level;
      if (level > high) high = level;
    }
    if (high < 0) return;
    context.moveTo(x + 0.5, y(low) + 0.5);
    context.lineTo(x + 0.5, y(high) - 0.5);
  });
}

function drawSpans(context, width, top) {
  shown().forEach(({ tracker, index }, row) => {
    const y = top + row * (SPAN_HEIGHT + 1);
    context.fillStyle = styleOf("--track");
    context.fillRect(0, y, width, SPAN_HEIGHT);
    context.fillStyle = colorOf(tracker);
    for (const [, start, end] of currentSequence().failures[index]) {
      const left = frameX(start - 0.5, width);
      context.fillRect(
        left,
        y,
        Math.max(2, frameX((end ?? currentSequence().length) - 0.5, width) - left),
        SPAN_HEIGHT,
      );
    }
    const scores = view.frames.scores[index];
    if (!scores) return;
    context.fillStyle = styleOf("--text");
    eachColumn(width, (x, from, to) => {
      if (scores.subarray(from, to).some((score) => score < LEVELS / 2)) context.fillRect(x, y + 4, 1, 3);
    });
  });
}

function drawCursor() {
  const { context, width } = sizeCanvas(byId("cursor"), timelineHeight());
  const x = frameX(state.frame, width);
  context.fillStyle = styleOf("--text");
  context.fillRect(Math.round(x) - 0.75, 0, 1.5, timelineHeight());
}

function zoom(factor) {
  const total = currentSequence().length,
    length = Math.max(Math.min(20, total), Math.min(total, Math.round((range.to - range.from) * factor)));
  range.from = Math.max(0, Math.min(total - length, Math.round(state.frame - length / 2)));
  range.to = range.from + length;
  drawTimeline();
}

function watchTimeline() {
  const canvas = byId("cursor");
  const frameAt = (event) => {
    const box = canvas.getBoundingClientRect(),
      share = (event.clientX - box.left) / box.width;
    return Math.max(
      0,
      Math.min(currentSequence().length - 1, Math.floor(range.from + share * (range.to - range.from))),
    );
  };
  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    seek(frameAt(event));
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!view.frames) return;
    const frame = frameAt(event);
    if (event.buttons & 1) seek(frame);
    showTip(event, [
      `frame ${frame}`,
      ...shown().map(({ tracker, index }) =>
        make(
          "span",
          { class: "tip-row" },
          swatch(tracker),
          `${levelText(view.frames.overlaps[index][frame])} `,
          tracker.label,
        ),
      ),
    ]);
  });
  canvas.addEventListener("pointerleave", hideTip);
}
