// SeqTrack on an exported network, in JavaScript: crop, step, map back, update rule, score, lost and found.
// No page and no library in it but the ONNX Runtime that is passed in; boxes are [x, y, width, height] in pixels.

const FORMAT = 1; // of the metadata
const CLIP_MARGIN = 10; // pixels: a box stays at least this large and this far inside the image
const SHIFTS = { xywh: 0, whxy: 2, corner: 0 }; // by how many places the four tokens are rolled

/** Round half to even, as Python does. */
function roundEven(value) {
  const rounded = Math.round(value);
  return Math.abs(value % 1) === 0.5 && rounded % 2 !== 0 ? rounded - 1 : rounded;
}

/**
 * The two pixels that each of `size` pixels is interpolated from, out of `side`, and their weights of 11 bits.
 * At a border both are the same pixel. OpenCV rounds it once along rows (`whole`), twice along columns.
 */
function taps(side, size, whole) {
  return Array.from({ length: size }, (_, i) => {
    const position = Math.fround((i + 0.5) * (1 / (size / side)) - 0.5);
    const floor = Math.floor(position), share = Math.fround(position - floor);
    const first = Math.min(Math.max(floor, 0), side - 1), second = Math.min(Math.max(floor + 1, 0), side - 1);
    if (whole && first === second) return [first, second, 2048, 0];
    return [first, second, roundEven(Math.fround(1 - share) * 2048), roundEven(share * 2048)];
  });
}

/**
 * Cut a square around a box and resize it; what is outside the image is black.
 *
 * The arithmetic is that of cv2.resize (bilinear, bytes), bit for bit: weights of 11 bits, 4 bits dropped in between.
 *
 * @param frame {width, height, read(x, y, width, height) -> RGBA bytes}
 * @param box [x, y, width, height]
 * @param factor side of the square over sqrt(width * height)
 * @param size side of the result
 * @param out Uint8Array of 3 * size * size, filled with the planes R, G, B
 * @returns pixels of the crop per pixel of the image
 */
export function crop(frame, [x, y, w, h], factor, size, out) {
  const side = Math.ceil(Math.sqrt(w * h) * factor);
  if (!(side > 0)) throw new Error("the box has no area");
  const left = roundEven(x + 0.5 * w - side * 0.5), top = roundEven(y + 0.5 * h - side * 0.5);
  // The published tracker pads one pixel too much on the right and at the bottom; its weights expect it.
  const x0 = Math.max(left, 0), x1 = Math.min(left + side, frame.width) - (left + side >= frame.width);
  const y0 = Math.max(top, 0), y1 = Math.min(top + side, frame.height) - (top + side >= frame.height);
  out.fill(0);
  if (x0 >= x1 || y0 >= y1) return size / side;
  const patch = frame.read(x0, y0, x1 - x0, y1 - y0);
  // Offsets in the patch; -1 is black.
  const step = 4 * (x1 - x0);
  const column = (i) => (i >= x0 - left && i < x1 - left ? 4 * (i - x0 + left) : -1);
  const row = (j) => (j >= y0 - top && j < y1 - top ? step * (j - y0 + top) : -1);
  const columns = taps(side, size, true).map(([a, b, wa, wb]) => [column(a), column(b), wa, wb]);
  const across = (start, [a, b, wa, wb], channel) => {
    if (start < 0) return 0;
    const sum = (a < 0 ? 0 : patch[start + a + channel] * wa) + (b < 0 ? 0 : patch[start + b + channel] * wb);
    return sum >> 4;
  };
  taps(side, size, false).forEach(([a, b, wa, wb], j) => {
    const above = row(a), below = row(b);
    if (above < 0 && below < 0) return;
    for (let channel = 0; channel < 3; channel++) {
      let at = (channel * size + j) * size;
      for (const taken of columns) {
        const value = ((across(above, taken, channel) * wa) >> 16) + ((across(below, taken, channel) * wb) >> 16);
        out[at++] = (value + 2) >> 2;
      }
    }
  });
  return size / side;
}

/** Read the metadata of an ONNX file (field 14 of the protobuf message): a Map from key to text. */
export function readMetadata(bytes) {
  let at = 0;
  const number = () => {
    let value = 0, scale = 1, byte;
    do {
      if (at >= bytes.length) throw new Error("the file ends too early");
      byte = bytes[at++];
      value += (byte & 127) * scale;
      scale *= 128;
    } while (byte & 128);
    return value;
  };
  const fields = (end, found) => {
    while (at < end) {
      const tag = number(), kind = tag % 8;
      const length = kind === 2 ? number() : kind === 1 ? 8 : kind === 5 ? 4 : 0;
      if (kind === 0) number();
      else if (!length && kind !== 2) throw new Error("not an ONNX file");
      const next = at + length;
      if (next > end) throw new Error("the file ends too early");
      if (kind === 2) found(Math.floor(tag / 8), at, next);
      at = next;
    }
  };
  const metadata = new Map(), text = new TextDecoder();
  fields(bytes.length, (field, start, end) => {
    if (field !== 14) return;
    const entry = ["", ""];
    at = start;
    fields(end, (part, from, to) => (entry[part - 1] = text.decode(bytes.subarray(from, to))));
    metadata.set(entry[0], entry[1]);
  });
  return metadata;
}

/** An exported network, which any number of targets share. */
export class Model {
  /**
   * @param ort the module of ONNX Runtime Web
   * @param embed Uint8Array, embed_template.onnx
   * @param step Uint8Array, step.onnx
   * @param providers where it may run: "webgpu", "wasm"
   */
  static async load(ort, embed, step, providers = ["wasm"]) {
    const model = new Model(), text = readMetadata(step).get("seqtrack");
    if (!text) throw new Error("step.onnx is not a file of tracking/export.py");
    model.meta = JSON.parse(text);
    if (model.meta.format_version !== FORMAT) {
      throw new Error(`step.onnx has metadata of format ${model.meta.format_version}, this page knows ${FORMAT}`);
    }
    if (readMetadata(embed).get("seqtrack") !== text) {
      throw new Error("embed_template.onnx and step.onnx are of two exports: load the page again, or export again");
    }
    model.ort = ort;
    // Without warnings: WebGPU has one for shapes that the processor computes, as it should.
    const options = { executionProviders: providers, logSeverityLevel: 3 };
    model.embed = await ort.InferenceSession.create(embed, options);
    model.network = await ort.InferenceSession.create(step, options);
    return model;
  }

  /** Give the memory back; nothing works afterwards. */
  async release() {
    await this.embed.release();
    await this.network.release();
  }

  /** Begin with a target: the state {box, templates, frame}; templates is a list of (tokens * width) floats. */
  async start(frame, box) {
    const template = await this.embedTemplate(frame, box);
    return { box: [...box], templates: Array(this.meta.template.number).fill(template), frame: 0 };
  }

  async embedTemplate(frame, box) {
    const { size, factor } = this.meta.template;
    const pixels = new Uint8Array(3 * size * size);
    crop(frame, box, factor, size, pixels);
    const image = new this.ort.Tensor("uint8", pixels, [1, 3, size, size]);
    const { template } = await this.embed.run({ image });
    this.width = template.dims[2];
    return template.data;
  }

  /**
   * Track one frame: B states in one batch; they move on in place.
   * @returns B results {box, confidence (0 to 40), score (0 to 1)}
   */
  async step(frame, states) {
    const { search: { size, factor }, template: { number } } = this.meta;
    const batch = states.length, area = 3 * size * size, length = states[0].templates[0].length;
    const pixels = new Uint8Array(batch * area), templates = new Float32Array(batch * number * length);
    const scales = states.map((state, i) => {
      state.templates.forEach((template, k) => templates.set(template, (i * number + k) * length));
      return crop(frame, state.box, factor, size, pixels.subarray(i * area, (i + 1) * area));
    });
    const output = await this.network.run({
      templates: new this.ort.Tensor("float32", templates, [batch, (number * length) / this.width, this.width]),
      image: new this.ort.Tensor("uint8", pixels, [batch, 3, size, size]),
    });
    const results = states.map((state, i) => {
      const likelihoods = Array.from(output.likelihoods.data.subarray(4 * i, 4 * i + 4));
      const tokens = Array.from(output.tokens.data.subarray(4 * i, 4 * i + 4));
      state.box = this.boxInImage(tokens, scales[i], state.box, frame);
      state.frame++;
      const confidence = 10 * likelihoods.reduce((sum, value) => sum + value, 0);
      return { box: [...state.box], confidence, score: this.score(likelihoods) };
    });
    for (let i = 0; i < batch; i++) await this.updateTemplates(frame, states[i], results[i].confidence);
    return results;
  }

  /** The first template stays, the oldest of the others goes. */
  async updateTemplates(frame, state, confidence) {
    const { template: { number }, update: { interval, threshold } } = this.meta;
    if (number < 2 || state.frame % interval !== 0 || !(confidence > threshold)) return;
    const [first, , ...rest] = state.templates;
    state.templates = [first, ...rest, await this.embedTemplate(frame, state.box)];
  }

  /** Turn tokens into a box in pixels; float32 until it is relative to the center of the crop. */
  boxInImage(tokens, scale, [x, y, w, h], { width, height }) {
    const f = Math.fround, { bins, sequence_format: format, search: { size } } = this.meta;
    let values = tokens.map((_, i) => f(tokens[(i + 4 - SHIFTS[format]) % 4] / (bins - 1)));
    if (format === "corner") {
      const [x0, y0, x1, y1] = values;
      values = [f(f(x0 + x1) / 2), f(f(y0 + y1) / 2), f(x1 - x0), f(y1 - y0)];
    }
    const [cx, cy, newW, newH] = values.map((value) => f(f(value * size) / f(scale)));
    const half = (0.5 * size) / scale;
    const left = cx + (x + 0.5 * w - half) - 0.5 * newW, top = cy + (y + 0.5 * h - half) - 0.5 * newH;
    const x0 = Math.min(Math.max(0, left), width - CLIP_MARGIN);
    const y0 = Math.min(Math.max(0, top), height - CLIP_MARGIN);
    const x1 = Math.min(Math.max(CLIP_MARGIN, left + newW), width);
    const y1 = Math.min(Math.max(CLIP_MARGIN, top + newH), height);
    return [x0, y0, Math.max(CLIP_MARGIN, x1 - x0), Math.max(CLIP_MARGIN, y1 - y0)];
  }

  /** How likely it is that a box is on the target: logistic regression, or a curve behind it. */
  score(likelihoods) {
    const { weights, bias, points } = this.meta.score;
    const values = likelihoods.map((value) => Math.max(value, 1e-6));
    const features = [values.reduce((sum, value) => sum + value, 0) / 4, ...values].map(Math.log);
    const value = features.reduce((sum, feature, i) => sum + feature * weights[i], bias);
    if (Number.isNaN(value)) return 0; // of a network that overflows, as some GPUs do with float16
    if (!points.length) return 1 / (1 + Math.exp(-value));
    const next = points.findIndex((point) => point[0] > value);
    if (next === 0) return points[0][1];
    if (next < 0) return points[points.length - 1][1];
    const [[a, low], [b, high]] = points.slice(next - 1, next + 1);
    return low + ((high - low) * (value - a)) / (b - a);
  }
}
