// Noticing that targets are lost, and finding them again: as lib/test/tracker/lost.py, which explains it.

const LOST_BELOW = 0.3; // score below which a frame is doubtful; this score knows nothing of the look of a target
const FOUND_ABOVE = 0.85; // score from which on a frame is sure
const PATIENCE = 3; // doubtful frames in a row after which a target is lost
const CONFIRM = 2; // sure frames in a row, in one place, after which it is found
const GROWTH = 1.5; // factor by which the side of the search region grows with each frame
const MOST_CROPS = 16; // of one target in a frame
const STRIDE = 0.6; // of the crops of a search over their side
const EDGE = 2; // pixels: a box this near to the edge of the image may be cut by it
const SAME_OVERLAP = 0.5; // of the boxes of two frames in a row that agree

/** Targets in one video, all of them one batch. `status` of each is tracking, uncertain or lost. */
export class Targets {
  constructor(model) {
    this.model = model;
    this.searches = model.meta.score.fitted; // scores that were fitted for other weights are no guide
    this.list = [];
    this.lastId = 0;
  }

  /** Begin with a target in a frame. */
  async add(frame, box) {
    const state = await this.model.start(frame, box);
    const target = { id: ++this.lastId, state, score: 1, confidence: 40, box: [...box], status: "tracking", streak: 0 };
    this.list.push(Object.assign(target, { sureBox: [...box], wholeSize: box.slice(2), lostFor: 0, candidate: null }));
    return target;
  }

  remove(id) {
    this.list = this.list.filter((target) => target.id !== id);
  }

  clear() {
    this.list = [];
    this.lastId = 0;
  }

  /** Follow all targets into the next frame. */
  async step(frame) {
    const targets = this.list;
    if (!targets.length) return;
    const probes = targets.map((target) => this.probes(target, frame));
    const results = await this.model.step(frame, probes.flat());
    let begin = 0;
    targets.forEach((target, i) => {
      const mine = results.slice(begin, (begin += probes[i].length));
      if (target.status === "lost" && this.searches) target.state.frame++; // the copies were counted on, not this one
      judge(target, mine.reduce((best, result) => (result.score > best.score ? result : best)), frame);
    });
  }

  /** States to step for a target: its own, or while it is lost one for each place to look at. */
  probes(target, frame) {
    if (target.status !== "lost" || !this.searches) return [target.state];
    let places = [target.candidate];
    if (!target.candidate) {
      const [x, y, w, h] = target.sureBox, [wholeW, wholeH] = target.wholeSize;
      const around = [x + 0.5 * (w - wholeW), y + 0.5 * (h - wholeH), wholeW, wholeH];
      const side = this.model.meta.search.factor * Math.sqrt(wholeW * wholeH);
      places = searchPlaces(around, frame, side, side * GROWTH ** Math.min(target.lostFor, 20));
      if (places.length > MOST_CROPS) {
        const first = (target.lostFor * MOST_CROPS) % places.length;
        places = [...places, ...places].slice(first, first + MOST_CROPS);
      }
    }
    return places.map((box) => ({ ...target.state, box })); // copies: what changes in them is thrown away
  }
}

/** Move a target on by the best result for it in a frame. */
function judge(target, result, frame) {
  const { box, score } = result;
  Object.assign(target, { box, score, confidence: result.confidence });
  if (target.status === "lost") judgeLost(target, box, score);
  else if (score < LOST_BELOW) {
    target.streak++;
    target.status = target.streak >= PATIENCE ? "lost" : "uncertain";
    if (target.status === "lost") Object.assign(target, { streak: 0, lostFor: 0, candidate: null });
  } else if (score >= FOUND_ABOVE || target.status === "tracking") {
    Object.assign(target, { status: "tracking", streak: 0, sureBox: box });
    const [x, y, w, h] = box;
    const inside = Math.min(x, y) > EDGE && x + w < frame.width - EDGE && y + h < frame.height - EDGE;
    if (inside) target.wholeSize = [w, h];
  } else target.streak = 0;
}

function judgeLost(target, box, score) {
  target.lostFor++;
  if (score < FOUND_ABOVE) {
    Object.assign(target, { candidate: null, streak: 0 });
    return;
  }
  const agrees = target.candidate && overlap(target.candidate, box) >= SAME_OVERLAP;
  target.streak = agrees ? target.streak + 1 : 1;
  target.candidate = box;
  if (target.streak < CONFIRM) return;
  target.state.box = [...box];
  Object.assign(target, { sureBox: box, status: "tracking", streak: 0, lostFor: 0, candidate: null });
}

/** Boxes whose search crops cover a square around a box, as far as it is in the frame; the nearest one first. */
function searchPlaces([x, y, w, h], frame, side, region) {
  const middle = [x + 0.5 * w, y + 0.5 * h];
  const [xs, ys] = [frame.width, frame.height].map((length, axis) => {
    const low = Math.max(middle[axis] - 0.5 * region, 0), high = Math.min(middle[axis] + 0.5 * region, length);
    const extent = Math.max(high - low, 0), half = Math.min(0.5 * side, 0.5 * extent);
    const count = 1 + Math.max(0, Math.ceil((extent - side) / (STRIDE * side)));
    if (count === 1) return [0.5 * (low + high)];
    return Array.from({ length: count }, (_, i) => low + half + (i * (extent - 2 * half)) / (count - 1));
  });
  const centers = xs.flatMap((cx) => ys.map((cy) => [cx, cy]));
  const distance = ([cx, cy]) => Math.hypot(cx - middle[0], cy - middle[1]);
  centers.sort((one, other) => distance(one) - distance(other));
  return centers.map(([cx, cy]) => [cx - 0.5 * w, cy - 0.5 * h, w, h]);
}

/** Intersection over union of two boxes. */
function overlap([x, y, w, h], [u, v, s, t]) {
  const inner =
    Math.max(Math.min(x + w, u + s) - Math.max(x, u), 0) * Math.max(Math.min(y + h, v + t) - Math.max(y, v), 0);
  return inner / (w * h + s * t - inner);
}
