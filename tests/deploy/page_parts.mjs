// Runs parts of examples/browser in Node.js: reads a request (JSON) from standard input, writes the answer.

import { readFileSync } from "node:fs";
import { Targets } from "../../examples/browser/lost.js";
import { crop, Model, readMetadata } from "../../examples/browser/tracker.js";
import { colorsOf, yuvFrame } from "../../examples/browser/video.js";

const { what, ...request } = JSON.parse(readFileSync(0));

function frameOf({ width, height, rgb }) {
  const bytes = Buffer.from(rgb, "base64");
  const read = (x, y, w, h) => {
    const out = new Uint8ClampedArray(4 * w * h);
    for (let j = 0; j < h; j++) {
      for (let i = 0; i < w; i++) {
        const at = 3 * ((y + j) * width + x + i);
        out.set(bytes.subarray(at, at + 3), 4 * (j * w + i));
      }
    }
    return out;
  };
  return { width, height, read };
}

// The same arithmetic as FakeSession in test_page.py.
const sum = (values) => values.reduce((total, value) => total + value, 0);
class Tensor {
  constructor(type, data, dims) {
    Object.assign(this, { type, data, dims });
  }
}
class FakeSession {
  static create = async () => new FakeSession();

  async run({ image, templates }) {
    if (!templates) return { template: new Tensor("float32", Float32Array.of(sum(image.data) % 97, 5, 6), [1, 1, 3]) };
    const total = sum(image.data), known = sum(templates.data.map((value, i) => value * (i + 1)));
    const tokens = Int32Array.of(1, 2, 3, 4).map((factor) => 9 + ((total * factor + known) % 12));
    return { tokens: { data: tokens }, likelihoods: { data: Float32Array.from(tokens, (token) => token / 64) } };
  }
}

const answers = {
  crops() {
    const out = new Uint8Array(3 * request.size ** 2), frame = frameOf(request.image);
    return request.boxes.map((box) => {
      const scale = crop(frame, box, request.factor, request.size, out);
      return [scale, Buffer.from(out).toString("base64")];
    });
  },
  async colors() {
    const { width, height, planes, strides, space } = request, bytes = planes.flat();
    const starts = planes.map((_, i) => planes.slice(0, i).flat().length);
    const copyTo = async (target) => (target.set(bytes), starts.map((offset, i) => ({ offset, stride: strides[i] })));
    const sample = { visibleRect: { width, height }, allocationSize: () => bytes.length, copyTo };
    const colors = colorsOf(space);
    return colors && Array.from((await yuvFrame(sample, colors)).read(1, 1, width - 1, height - 1));
  },
  metadata: () => readMetadata(new Uint8Array(readFileSync(request.file))).get("seqtrack"),
  async load() {
    const [embed, step] = request.files.map((file) => new Uint8Array(readFileSync(file)));
    return Model.load({ InferenceSession: FakeSession }, embed, step).then(({ meta }) => meta, (error) => error.message);
  },
  scores: () => request.metas.map((meta) => Object.assign(new Model(), { meta }).score([0.5, NaN, 0.5, 0.5])),
  async boxes() {
    const model = Object.assign(new Model(), { ort: { Tensor }, meta: request.meta });
    model.embed = model.network = new FakeSession();
    const [first, ...frames] = request.frames.map(frameOf), found = [];
    const state = await model.start(first, request.box);
    for (const frame of frames) {
      const [{ box, score }] = await model.step(frame, [state]);
      found.push([...box, score]);
    }
    return found;
  },
  async lost() {
    const { size, factor, center, scores, fitted } = request, found = [];
    const at = { index: 0, width: size[0], height: size[1] };
    const start = async (_, box) => ({ box: [...box], frame: 0 });
    const step = async ({ index }, states) =>
      states.map((state) => {
        const near = Math.hypot(state.box[0] - center[0], state.box[1] - center[1]) < 60;
        state.box = near ? [...center, 30, 20] : [state.box[0] + 1, state.box[1], 30, 20];
        return { box: [...state.box], confidence: 0, score: near ? scores[index] : 0.01 };
      });
    const targets = new Targets({ start, step, meta: { search: { factor }, score: { fitted } } });
    const target = await targets.add(at, request.box);
    for (at.index = 0; at.index < scores.length; at.index++) {
      await targets.step(at);
      found.push([target.status, target.score, ...target.box]);
    }
    return found;
  },
};

console.log(JSON.stringify(await answers[what]()));
