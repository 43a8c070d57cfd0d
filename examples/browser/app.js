// The page: opens videos, lets boxes be drawn, plays and tracks, shows and saves what was found.

import { Targets } from "./lost.js";
import { allowThreads, loadModel } from "./runtime.js";
import { drawOverlay, placement, showTargets } from "./show.js";
import { CameraSource, FileSource } from "./video.js";

const SMALLEST_BOX = 4; // pixels of the frame
const $ = (id) => document.getElementById(id);
const canvas = $("frame"), overlay = $("overlay"), stage = $("stage");

let targets = null; // Targets, once the network is loaded
let source = null; // FileSource or CameraSource
let player = null; // the loop of play() that is running
let frame = null, frameNumber = -1, frameTime = 0, playing = false, ended = false, drag = null, speed = 0;
let rows = []; // per frame with targets: {frame, time, targets: [{id, box, score, confidence, state}]}

// One thing at a time: whatever reads or moves the video or the targets waits for what was asked for before it.
let queue = Promise.resolve();
function serially(work) {
  const result = queue.then(work);
  queue = result.catch((error) => fail(error));
  return queue;
}

function fail(error) {
  playing = false;
  console.warn(error);
  $("alert-text").textContent = error.message || String(error);
  $("alert").hidden = false;
  refresh();
}

const say = (text) => ($("status").textContent = text);

// ---- video and tracking

function open(opening) {
  playing = false;
  return serially(async () => {
    $("alert").hidden = true;
    const next = await opening();
    source?.close();
    source = next;
    await toFirstFrame();
    if (source.isLive && canMove()) play();
  });
}

/** Show the first frame of the source, without targets. */
async function toFirstFrame() {
  targets?.clear();
  rows = [];
  frameNumber = -1;
  speed = 0;
  ended = false;
  try {
    await readFrame();
  } catch (error) {
    source.close();
    source = null;
    throw error;
  } finally {
    stage.classList.toggle("empty", !source);
    refresh();
  }
  say(`${source.name}: ${canvas.width} × ${canvas.height} pixels. Drag a box around a target.`);
}

/** Draw the next frame; false at the end. */
async function readFrame() {
  const next = await source.next(canvas);
  ended = next === null;
  if (ended) return false;
  frameNumber++;
  ({ frame, time: frameTime } = next);
  return true;
}

async function addTarget(box) {
  if (!targets) throw new Error("The network is not loaded yet.");
  const [x, y, w, h] = box, shown = box.map((value) => value.toFixed(0)).join(", ");
  if (!(w > 0 && h > 0)) throw new Error(`A box needs a width and a height above 0, got ${shown}.`);
  if (x >= canvas.width || y >= canvas.height || x + w <= 0 || y + h <= 0 || w > 10 * canvas.width || h > 10 * canvas.height) {
    throw new Error(`The box ${shown} is outside the frame of ${canvas.width} × ${canvas.height} pixels, or far too large.`);
  }
  const target = await targets.add(frame, box);
  const row = rows.at(-1)?.frame === frameNumber ? rows.pop() : { frame: frameNumber, time: frameTime, targets: [] };
  rows.push({ ...row, targets: [...row.targets, record(target)] });
  say(`Target ${target.id} at ${shown}. Press Space to track.`);
  refresh();
}

const record = ({ id, box, score, confidence, status }) => ({ id, box: [...box], score, confidence, state: status });

/** Track one frame; false at the end of the video. */
async function advance() {
  const before = performance.now();
  if (!(await readFrame())) {
    playing = false;
    say(source.isLive ? "The camera has stopped." : "End of the video. Save the boxes, or restart.");
    refresh();
    return false;
  }
  const lost = new Set(targets.list.filter((target) => target.status === "lost").map((target) => target.id));
  await targets.step(frame);
  if (targets.list.length) {
    rows.push({ frame: frameNumber, time: frameTime, targets: targets.list.map(record) });
    const newlyLost = targets.list.filter((target) => target.status === "lost" && !lost.has(target.id));
    for (const { id } of newlyLost) say(`Target ${id} is lost; looking for it.`);
    for (const { id, status } of targets.list) if (lost.has(id) && status !== "lost") say(`Target ${id} is found again.`);
  }
  const rate = 1000 / (performance.now() - before);
  speed = speed ? 0.85 * speed + 0.15 * rate : rate;
  refresh();
  return true;
}

async function play() {
  const me = (player = {});
  playing = true;
  say(targets.list.length ? "Tracking." : "Playing; drag a box at any time.");
  refresh();
  const start = performance.now(), startTime = frameTime;
  while (playing && player === me) {
    await serially(() => playing && player === me && advance());
    // Never faster than the video; the page gets its turn in any case.
    const wait = source?.isLive ? 0 : 1000 * (frameTime - startTime) - (performance.now() - start);
    await new Promise((resolve) => setTimeout(resolve, Math.max(wait, 0)));
  }
  refresh();
}

function togglePlay() {
  if (playing) {
    playing = false;
    say("Paused.");
  } else if (canMove()) play();
  refresh();
}

const canMove = () => Boolean(source && targets && !ended);

function clear() {
  return serially(() => {
    targets?.clear();
    rows = [];
    say("Targets removed. Drag a box around a target.");
    refresh();
  });
}

function restart() {
  playing = false;
  return serially(async () => {
    if (!source || source.isLive) return;
    source.restart();
    await toFirstFrame();
  });
}

// ---- what is shown

function refresh() {
  const live = source?.isLive;
  $("play").textContent = playing ? "Pause" : "Play";
  $("play").disabled = !canMove();
  $("step").disabled = !canMove() || playing;
  $("restart").disabled = !source || live;
  $("clear").disabled = !targets?.list.length;
  $("save-txt").disabled = $("save-json").disabled = !rows.length;
  $("speed").textContent = speed ? speed.toFixed(speed < 10 ? 1 : 0) : "–";
  $("count").textContent = source ? frameNumber : "–";
  $("time").textContent = source ? frameTime.toFixed(2) : "–";
  showTargets(targets?.list ?? [], remove);
  draw();
}

const draw = () => drawOverlay(overlay, canvas, targets?.list ?? [], drag && dragBox());

function remove(id) {
  return serially(() => {
    targets.remove(id);
    refresh();
  });
}

function dragBox() {
  const [x0, y0] = drag.from, [x1, y1] = drag.to;
  return [Math.min(x0, x1), Math.min(y0, y1), Math.abs(x1 - x0), Math.abs(y1 - y0)];
}


// ---- files

function save(name, text, type) {
  const link = Object.assign(document.createElement("a"), { href: URL.createObjectURL(new Blob([text], { type })), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

const baseName = () => source.name.replace(/\.[^.]*$/, "");

/** One target from the first frame on: x, y, w, h of every frame. Else MOT: frame, id, x, y, w, h, confidence, -1, -1, -1. */
function saveTxt() {
  const ids = new Set(rows.flatMap((row) => row.targets.map((target) => target.id)));
  const single = ids.size === 1 && rows[0].frame === 0 && rows.length === rows.at(-1).frame + 1;
  const number = (value) => value.toFixed(2);
  const lines = rows.flatMap((row) =>
    row.targets.map(({ id, box, confidence }) =>
      single ? box.map(number).join("\t") : [row.frame + 1, id, ...box.map(number), (confidence / 40).toFixed(4), -1, -1, -1].join(","),
    ),
  );
  save(`${baseName()}${single ? "" : ".mot"}.txt`, `${lines.join("\n")}\n`, "text/plain");
}

function saveJson() {
  const { config, checkpoint_sha256: checkpoint, precision } = targets.model.meta;
  const head = { video: source.name, width: canvas.width, height: canvas.height, config, checkpoint_sha256: checkpoint, precision };
  save(`${baseName()}.json`, `${JSON.stringify({ ...head, frames: rows }, null, 1)}\n`, "application/json");
}

// ---- events

function pointOf(event) {
  const { scale, left, top } = placement(overlay, canvas), { left: x, top: y } = overlay.getBoundingClientRect();
  const inside = (value, most) => Math.min(Math.max(value, 0), most);
  return [inside((event.clientX - x - left) / scale, canvas.width), inside((event.clientY - y - top) / scale, canvas.height)];
}

overlay.onpointerdown = (event) => {
  if (!source || !targets || event.button !== 0) return;
  overlay.setPointerCapture(event.pointerId);
  drag = { from: pointOf(event), to: pointOf(event), resume: playing };
  playing = false;
};
overlay.onpointermove = (event) => {
  if (!drag) return;
  drag.to = pointOf(event);
  draw();
};
overlay.onpointercancel = () => {
  drag = null;
  draw();
};
overlay.onpointerup = async () => {
  if (!drag) return;
  const box = dragBox(), { resume } = drag;
  drag = null;
  draw();
  if (Math.min(box[2], box[3]) >= SMALLEST_BOX) await serially(() => addTarget(box));
  if (resume && canMove()) play();
};

$("numbers").onsubmit = (event) => {
  event.preventDefault();
  const values = new FormData(event.target);
  serially(() => {
    if (!source) throw new Error("Open a video first.");
    return addTarget(["x", "y", "w", "h"].map((name) => Number(values.get(name))));
  });
};
$("open").onclick = () => $("file").click();
$("file").onchange = () => {
  const [file] = $("file").files;
  if (file) open(() => FileSource.open(file));
  $("file").value = "";
};
$("empty").onclick = () => $("file").click();
$("camera").onclick = () => open(CameraSource.open);
$("play").onclick = togglePlay;
$("step").onclick = () => {
  say("One frame further.");
  serially(advance);
};
$("restart").onclick = restart;
$("clear").onclick = clear;
$("save-txt").onclick = saveTxt;
$("save-json").onclick = saveJson;
$("alert-close").onclick = () => ($("alert").hidden = true);
$("backend").onchange = () => start();
stage.ondragover = (event) => {
  event.preventDefault();
  stage.classList.add("drop");
};
stage.ondragleave = () => stage.classList.remove("drop");
stage.ondrop = (event) => {
  event.preventDefault();
  stage.classList.remove("drop");
  const [file] = event.dataTransfer.files;
  if (file) open(() => FileSource.open(file));
};
addEventListener("resize", draw);
addEventListener("keydown", (event) => {
  const keys = { " ": "play", ArrowRight: "step", Home: "restart", Delete: "clear", Backspace: "clear", o: "open", s: "save-txt" };
  const button = $(keys[event.key]);
  if (!button || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.closest("input, select, summary, button") && event.target.id !== button.id) return;
  event.preventDefault();
  button.click();
});

// ---- start

async function start() {
  playing = false;
  $("backend").disabled = true;
  await serially(async () => {
    const previous = targets;
    targets = null;
    rows = [];
    refresh();
    await previous?.model.release();
    const { model, place } = await loadModel($("backend").value, say);
    targets = new Targets(model);
    $("place").textContent = place;
    say(source ? "Drag a box around a target." : "Ready: open a video or the camera.");
  });
  if (!targets) say("The network is not loaded.");
  $("backend").disabled = false;
  document.documentElement.dataset.state = targets ? "ready" : "failed";
  refresh();
}

stage.classList.add("empty");
refresh();
await allowThreads();
await start();
