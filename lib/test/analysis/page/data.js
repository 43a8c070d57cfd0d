// The data of the page, how that of single frames is unpacked, and what all parts share.

const content = JSON.parse(document.getElementById("content").textContent);
const LEVELS = 250;
const NOTHING = 255;
const KINDS = ["drift", "switch", "scale", "absence"];

const state = {
  benchmark: content.benchmarks[0],
  hidden: new Set(), // labels of trackers
  baseline: 0,
  a: 0,
  b: 0, // positions of trackers
  sequence: 0,
  frame: 0, // position in the benchmark; from 0
  scoreSort: { column: "score", down: true },
  listSort: { column: "name", down: false },
  search: "",
  filter: null, // { text, has(sequence, index) }
};

/** Scroll to a section; at once for those who have asked their system for less motion. */
const goTo = (id) =>
  byId(id).scrollIntoView({ behavior: matchMedia("(prefers-reduced-motion: reduce)").matches ? "auto" : "smooth" });
const byId = (id) => document.getElementById(id);
const trackers = () => state.benchmark.trackers;
const shown = () =>
  trackers()
    .map((tracker, index) => ({ tracker, index }))
    .filter(({ tracker }) => !state.hidden.has(tracker.label));
const signed = (value, digits = 2) => (value >= 0 ? "+" : "−") + Math.abs(value).toFixed(digits);
const isDark = () => document.documentElement.dataset.theme === "dark";

/** An element with attributes, listeners (onclick: ...) and children; text is never taken for HTML. */
function make(tag, attributes = {}, ...children) {
  const svgTags = ["svg", "path", "line", "circle", "text", "g", "rect", "polygon"];
  const element = svgTags.includes(tag)
    ? document.createElementNS("http://www.w3.org/2000/svg", tag)
    : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value !== false && value != null) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child != null && child !== false));
  return element;
}

/** Color of a tracker; lighter on a dark page, where the palette's darker colors would be hard to see. */
function colorOf(tracker) {
  if (!isDark()) return tracker.color;
  const parts = tracker.color.match(/\w\w/g).map((hex) => Math.round(parseInt(hex, 16) * 0.65 + 255 * 0.35));
  return `rgb(${parts.join(",")})`;
}

/** A short line in the color and dashes of a tracker. */
function swatch(tracker) {
  const line = make("line", {
    x1: 1,
    y1: 6,
    x2: 27,
    y2: 6,
    stroke: colorOf(tracker),
    "stroke-width": 3,
    "stroke-dasharray": tracker.dashes.map((length) => length * 2).join(" ") || null,
  });
  return make("svg", { class: "swatch", width: 28, height: 12, "aria-hidden": "true" }, line);
}

function showTip(event, lines) {
  const tip = byId("tip");
  tip.replaceChildren(...lines.map((line) => make("div", {}, line)));
  tip.hidden = false;
  const box = tip.getBoundingClientRect();
  const left = event.clientX + 16 + box.width > innerWidth ? event.clientX - box.width - 12 : event.clientX + 16;
  tip.style.left = `${Math.max(4, left)}px`;
  tip.style.top = `${Math.min(event.clientY + 12, innerHeight - box.height - 4)}px`;
}

const hideTip = () => {
  byId("tip").hidden = true;
};

async function inflate(base64) {
  const bytes = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/** Undoes pack_boxes of frames.py: for each set four arrays (x, y, w, h) of pixels. */
function unpackBoxes(bytes, sets, frames, scale) {
  const total = sets * 4 * frames;
  return Array.from({ length: sets }, (_, set) =>
    Array.from({ length: 4 }, (_, coordinate) => {
      const values = new Float32Array(frames);
      let position = (set * 4 + coordinate) * frames,
        steps = 0;
      for (let i = 0; i < frames; i++, position++) {
        const folded =
          bytes[position] +
          bytes[position + total] * 256 +
          bytes[position + 2 * total] * 65536 +
          bytes[position + 3 * total] * 16777216;
        steps += folded % 2 ? -(folded + 1) / 2 : folded / 2;
        values[i] = steps / scale;
      }
      return values;
    }),
  );
}

let unpacked = { key: null, frames: null };

/** Frames of a sequence: ground truth and boxes as above, overlaps and scores as levels, and how to name an image file. */
async function framesOf(sequence) {
  if (unpacked.key === sequence) return unpacked.frames;
  const bytes = await inflate(sequence.data),
    count = sequence.length,
    sets = sequence.has_score.length;
  const [groundTruth, ...boxes] = unpackBoxes(bytes, sets + 1, count, sequence.scale);
  let position = (sets + 1) * 16 * count;
  const next = () => bytes.subarray(position, (position += count));
  const overlaps = boxes.map(next);
  const scores = sequence.has_score.map((has) => (has ? next() : null));
  const rule = sequence.files;
  const names = rule ? null : new TextDecoder().decode(bytes.subarray(position)).split("\n");
  const fileOf = (frame) =>
    rule ? rule.prefix + String(rule.first + frame).padStart(rule.width, "0") + rule.suffix : names[frame];
  unpacked = { key: sequence, frames: { groundTruth, boxes, overlaps, scores, fileOf } };
  return unpacked.frames;
}
