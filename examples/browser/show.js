// What the page shows of targets: a list beside the video, and boxes over it.

const COLORS = ["#3ddc84", "#4da3ff", "#ffb02e", "#ff6ec7", "#9d7bff", "#2ee6d6", "#ff7a59", "#d4e157"];
const LABEL_HEIGHT = 20;
const DARK = "#0d0f13";

const colorOf = (id) => COLORS[(id - 1) % COLORS.length];

/** Fill the list; `remove` is called with the id of the target whose button is pressed. */
export function showTargets(targets, remove) {
  const list = document.getElementById("targets");
  document.getElementById("no-targets").hidden = targets.length > 0;
  for (const item of [...list.children]) if (!targets.some(({ id }) => item.dataset.id === String(id))) item.remove();
  for (const { id, score, status } of targets) {
    const item = list.querySelector(`[data-id="${id}"]`) ?? list.appendChild(makeItem(id, remove));
    item.querySelector(".state").textContent = status;
    item.querySelector(".state").className = `state ${status}`;
    item.querySelector("meter").value = score;
    item.querySelector("output").textContent = score.toFixed(2);
  }
}

function makeItem(id, remove) {
  const item = document.createElement("li");
  item.dataset.id = id;
  item.innerHTML = `
    <span class="chip" style="background: ${colorOf(id)}"></span>
    <span>Target ${id}</span>
    <span class="state"></span>
    <span class="score">
      score
      <meter min="0" max="1" low="0.3" high="0.85" optimum="1" aria-label="Score of target ${id}"></meter>
      <output></output>
    </span>
    <button class="remove" type="button" aria-label="Remove target ${id}" title="Remove target ${id}">✕</button>`;
  item.querySelector("button").onclick = () => remove(id);
  return item;
}

/** Where the frame is in the overlay: pixels of the page per pixel of the frame, and the frame's corner. */
export function placement(overlay, canvas) {
  const { width, height } = overlay.getBoundingClientRect();
  const scale = Math.min(width / canvas.width, height / canvas.height);
  return { scale, left: (width - scale * canvas.width) / 2, top: (height - scale * canvas.height) / 2, width, height };
}

/** Draw the boxes of targets, and the one that is being drawn with the mouse, if any. */
export function drawOverlay(overlay, canvas, targets, drawn) {
  const { scale, left, top, width, height } = placement(overlay, canvas), density = devicePixelRatio || 1;
  overlay.width = Math.round(width * density);
  overlay.height = Math.round(height * density);
  const context = overlay.getContext("2d");
  context.scale(density, density);
  const onPage = ([x, y, w, h]) => [left + x * scale, top + y * scale, w * scale, h * scale];
  for (const target of targets) drawTarget(context, target, onPage(target.box), width, height);
  if (!drawn) return;
  context.setLineDash([4, 4]);
  context.lineWidth = 2;
  context.strokeStyle = "#ffffff";
  context.strokeRect(...onPage(drawn));
}

function drawTarget(context, { id, score, status }, [x, y, w, h], width, height) {
  const isTracking = status === "tracking", label = `${id}  ${isTracking ? score.toFixed(2) : status}`;
  context.setLineDash(isTracking ? [] : [7, 5]);
  context.lineWidth = 5;
  context.strokeStyle = "rgb(0 0 0 / 45%)"; // so that it is seen on any background
  context.strokeRect(x, y, w, h);
  context.lineWidth = 2.5;
  context.strokeStyle = context.fillStyle = colorOf(id);
  context.strokeRect(x, y, w, h);

  context.font = "600 13px system-ui, sans-serif";
  const labelWidth = context.measureText(label).width + 12;
  const labelX = Math.max(0, Math.min(x - 1, width - labelWidth));
  const isRoomAbove = y > LABEL_HEIGHT + 2;
  const labelY = isRoomAbove ? y - LABEL_HEIGHT - 2 : Math.min(y + h, height - LABEL_HEIGHT);
  context.fillRect(labelX, labelY, labelWidth, LABEL_HEIGHT);
  context.fillStyle = DARK;
  context.fillText(label, labelX + 6, labelY + 14.5);
}
