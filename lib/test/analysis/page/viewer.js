// One sequence: the frame with its boxes, where its image comes from, and what is known of the frame.

const view = { frames: null, playing: 0, images: new Map(), files: null, pickedFor: -1, ticket: 0 };

const currentSequence = () => state.benchmark.sequences[state.sequence];
const levelText = (level) => (level === NOTHING ? "–" : (level / LEVELS).toFixed(2));

async function openSequence(index, frame) {
  const changed = index !== state.sequence || !view.frames;
  state.sequence = index;
  state.frame = Math.max(0, Math.min(frame, currentSequence().length - 1));
  if (changed) {
    stop();
    const ticket = ++view.ticket;
    try {
      const frames = await framesOf(currentSequence());
      if (ticket !== view.ticket) return; // another one was chosen meanwhile
      view.frames = frames;
    } catch (error) {
      byId("sequence-facts").textContent =
        `This browser cannot unpack the frames (${error.message}); it needs DecompressionStream.`;
      return;
    }
    for (const url of view.images.values()) if (url.startsWith("blob:")) URL.revokeObjectURL(url);
    view.images.clear();
    resetTimeline();
    drawSequence();
  }
  showFrame();
  scrollToRow();
}

function drawSequence() {
  const sequence = currentSequence();
  byId("sequence-name").textContent = sequence.name;
  byId("sequence-facts").textContent = [sequence.class, `${sequence.length} frames`, ...sequence.attributes]
    .filter(Boolean)
    .join(" · ");
  byId("scrub").max = byId("frame").max = sequence.length - 1;
  byId("of").textContent = `of ${sequence.length}`;
  drawRows();
  drawTimeline();
}

/** Show another frame: everything that depends on it. */
function showFrame() {
  if (!view.frames) return;
  if (state.frame < range.from || state.frame >= range.to) zoom(1);
  byId("scrub").value = state.frame;
  if (document.activeElement !== byId("frame")) byId("frame").value = state.frame;
  drawCursor();
  drawReadout();
  drawStage();
  saveHash();
}

function seek(frame) {
  state.frame = Math.max(0, Math.min(Math.round(frame), currentSequence().length - 1));
  showFrame();
}

/** Image of a frame as { url, frame }: the user's file, or the nearest embedded one; null if there is none. */
function imageOf(frame) {
  const file = view.files && findFile(frame);
  if (file) {
    if (!view.images.has(frame)) {
      if (view.images.size > 50) {
        const [oldest, url] = view.images.entries().next().value;
        URL.revokeObjectURL(url);
        view.images.delete(oldest);
      }
      view.images.set(frame, URL.createObjectURL(file));
    }
    return { url: view.images.get(frame), frame };
  }
  const embedded = (state.benchmark.thumbnails || {})[state.sequence];
  if (!embedded) return null;
  let nearest = 0;
  embedded.frames.forEach((other, i) => {
    if (Math.abs(other - frame) < Math.abs(embedded.frames[nearest] - frame)) nearest = i;
  });
  return { url: `data:image/jpeg;base64,${embedded.images[nearest]}`, frame: embedded.frames[nearest] };
}

/** The chosen file of a frame: its path ends as that of the frame, but for the name of the chosen folder itself. */
function findFile(frame) {
  const parts = view.frames.fileOf(frame).split("/").reverse(),
    isPicked = state.sequence === view.pickedFor;
  for (const { file, path } of view.files.get(parts[0]) || []) {
    let same = 0;
    while (same < Math.min(parts.length, path.length) && parts[same] === path[same]) same++;
    if (same < Math.min(parts.length, path.length) && same < path.length - 1) continue;
    // A folder such as `img` fits every sequence: it counts for the one that it was chosen for.
    if (same > 2 || isPicked || (same === 2 && isOwnFolder(parts[1]))) return file;
  }
  return null;
}

const isOwnFolder = (folder) =>
  folder != null &&
  state.benchmark.sequences.filter(({ files }) => files && files.prefix.split("/").slice(-2, -1)[0] === folder)
    .length === 1;

function chooseFolder(files) {
  view.files = new Map();
  for (const file of files) {
    const path = file.webkitRelativePath.split("/").reverse();
    if (!view.files.has(path[0])) view.files.set(path[0], []);
    view.files.get(path[0]).push({ file, path });
  }
  view.pickedFor = state.sequence;
  for (const url of view.images.values()) URL.revokeObjectURL(url);
  view.images.clear();
  const found = Boolean(findFile(state.frame));
  byId("folder-note").textContent = found
    ? `${files.length} files`
    : `No ${view.frames.fileOf(state.frame)} among ${files.length} files.`;
  showFrame();
}

async function drawStage() {
  const frame = state.frame,
    sequence = currentSequence(),
    source = imageOf(frame);
  let image = null;
  if (source) {
    image = new Image();
    image.src = source.url;
    try {
      await image.decode();
    } catch {
      image = null;
    }
    if (frame !== state.frame || sequence !== currentSequence()) return; // the user has gone on
  }
  const canvas = byId("stage"),
    isWhole = source && image && source.frame === frame;
  // Boxes are in pixels of the original frame, and so is a chosen file; thumbnails are smaller.
  const size = image && view.images.has(frame) ? [image.naturalWidth, image.naturalHeight] : sequence.size;
  const ratio = devicePixelRatio || 1,
    width = Math.round(canvas.parentElement.clientWidth);
  const scale = Math.min(width / size[0], (0.62 * innerHeight) / size[1]);
  canvas.width = Math.round(size[0] * scale * ratio);
  canvas.height = Math.round(size[1] * scale * ratio);
  canvas.style.width = `${Math.round(size[0] * scale)}px`;
  const context = canvas.getContext("2d");
  context.scale(ratio * scale, ratio * scale);
  context.fillStyle = isDark() ? "#20262e" : "#e3e7ec";
  context.fillRect(0, 0, ...size);
  if (image) {
    context.globalAlpha = isWhole ? 1 : 0.45;
    context.drawImage(image, 0, 0, ...size);
    context.globalAlpha = 1;
  }
  drawBoxes(context, frame, scale);
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  label(
    context,
    image ? (isWhole ? "" : `image of frame ${source.frame}`) : "no image: choose the folder of the frames below",
  );
  canvas.dataset.image = image ? (isWhole ? "frame" : "near") : "none";
  canvas.dataset.frame = frame;
}

function label(context, text) {
  if (!text) return;
  context.font = "13px system-ui, sans-serif";
  context.fillStyle = "rgba(0, 0, 0, 0.65)";
  context.fillRect(6, 6, context.measureText(text).width + 14, 24);
  context.fillStyle = "#fff";
  context.fillText(text, 13, 22);
}

function drawBoxes(context, frame, scale) {
  const box = ([x, y, w, h], color, width, dashes) => {
    if (w[frame] <= 0 || h[frame] <= 0) return;
    context.strokeStyle = color;
    context.lineWidth = width / scale;
    context.setLineDash(dashes.map((length) => (length * 2) / scale));
    context.strokeRect(x[frame], y[frame], w[frame], h[frame]);
  };
  // Dark below white: the ground truth is seen on any image.
  box(view.frames.groundTruth, "rgba(0, 0, 0, 0.75)", 6, []);
  box(view.frames.groundTruth, "#fff", 3.5, []);
  for (const { tracker, index } of shown().reverse()) box(view.frames.boxes[index], tracker.color, 2.2, tracker.dashes);
}

function drawReadout() {
  const frame = state.frame,
    sequence = currentSequence();
  const text = ([x, y, w, h]) => [x, y, w, h].map((values) => Number(values[frame].toFixed(1))).join(", ");
  const status = (index) => {
    const failure = sequence.failures[index].find(([, start, end]) => frame >= start && (end == null || frame < end));
    return failure ? [make("i", { class: `key ${failure[0]}` }), `${failure[0]} since ${failure[1]}`] : "";
  };
  const hasScore = shown().some(({ index }) => sequence.has_score[index]);
  const line = (head, ...cells) => make("tr", {}, make("th", { scope: "row" }, head), cells);
  const isAbsent = view.frames.overlaps.length && view.frames.overlaps[0][frame] === NOTHING;
  byId("readout").replaceChildren(
    make(
      "table",
      { class: "readout" },
      make(
        "thead",
        {},
        make(
          "tr",
          {},
          ["", "IoU", hasScore && "Score", "Failure", "x, y, w, h"]
            .filter((head) => head !== false)
            .map((head, i) => make("th", { class: i ? "number" : null }, head)),
        ),
      ),
      make(
        "tbody",
        {},
        line(
          [make("span", { class: "ground-truth" }), "ground truth"],
          make("td"),
          hasScore && make("td"),
          make("td", { class: "number" }, isAbsent ? "no target" : ""),
          make("td", { class: "number" }, text(view.frames.groundTruth)),
        ),
        shown().map(({ tracker, index }) =>
          line(
            [swatch(tracker), tracker.label],
            make("td", { class: "number" }, levelText(view.frames.overlaps[index][frame])),
            hasScore &&
              make(
                "td",
                { class: "number" },
                view.frames.scores[index] ? levelText(view.frames.scores[index][frame]) : "–",
              ),
            make("td", { class: "number" }, status(index)),
            make("td", { class: "number" }, text(view.frames.boxes[index])),
          ),
        ),
      ),
    ),
  );
}

/** Go to the first failure behind a frame of any shown tracker; around the end to the first one. */
function nextFailure(after) {
  const starts = shown()
    .flatMap(({ index }) => currentSequence().failures[index].map(([, start]) => start))
    .sort((a, b) => a - b);
  if (starts.length) seek(starts.find((start) => start > after) ?? starts[0]);
}

function stop() {
  cancelAnimationFrame(view.playing);
  view.playing = 0;
  byId("play").textContent = "Play";
}

function play() {
  if (view.playing) return stop();
  if (state.frame >= currentSequence().length - 1) state.frame = -1;
  byId("play").textContent = "Pause";
  let last = 0;
  const tick = (now) => {
    if (state.frame >= currentSequence().length - 1) return stop();
    if (now - last >= 33) {
      last = now;
      seek(state.frame + 1);
    }
    view.playing = requestAnimationFrame(tick);
  };
  view.playing = requestAnimationFrame(tick);
}
