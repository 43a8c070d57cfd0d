// Frames one by one, from a video file or a camera, each drawn into a canvas at its full size.

/**
 * A video file. Every frame is decoded once and in order (WebCodecs; Mediabunny reads the container): a <video> element
 * drops frames when tracking is slower than playing, and seeking by times hits each frame only where the rate is constant.
 */
export class FileSource {
  isLive = false;

  static async open(file) {
    if (typeof VideoDecoder === "undefined") {
      throw new Error(
        "This browser cannot decode video frame by frame (WebCodecs). Current versions of Chrome, Edge, Firefox and Safari can, on https:// pages and on localhost.",
      );
    }
    const media = await import("./vendor/mediabunny.min.mjs").catch((error) => {
      throw new Error(`vendor/mediabunny.min.mjs cannot be loaded: run "npm install" in examples/browser. (${error.message})`);
    });
    const source = new FileSource();
    source.name = file.name;
    source.input = new media.Input({ source: new media.BlobSource(file), formats: media.ALL_FORMATS });
    const track = await source.input.getPrimaryVideoTrack().catch((error) => {
      throw new Error(`${file.name} is damaged, or no video that browsers know (MP4, WebM, MOV, MKV). (${error.message})`);
    });
    if (!track) throw new Error(`${file.name} has no video in it.`);
    if (!(await track.canDecode())) {
      const codec = (await track.getCodec?.()) ?? "unknown";
      throw new Error(`${file.name}: this browser cannot decode its format (${codec}). Convert it to H.264 or VP9.`);
    }
    source.colors = colorsOf(await track.getColorSpace());
    source.sink = new media.VideoSampleSink(track);
    source.restart();
    return source;
  }

  restart() {
    this.samples?.return();
    this.samples = this.sink.samples();
    this.count = 0;
  }

  /** Draw the next frame: {time in seconds, frame for the tracker}, or null at the end. */
  async next(canvas) {
    const { done, value: sample } = await this.samples.next().catch((error) => {
      throw new Error(`${this.name} is damaged: frame ${this.count} cannot be decoded. (${error.message})`);
    });
    if (done) {
      if (!this.count) throw new Error(`${this.name} is damaged: it has no frame that can be decoded.`);
      return null;
    }
    const { width, height } = sample.visibleRect, turned = sample.rotation % 180 !== 0;
    resize(canvas, turned ? height : width, turned ? width : height);
    sample.draw(contextOf(canvas), 0, 0, canvas.width, canvas.height);
    const isPlain = sample.rotation === 0 && !sample.flip && ["I420", "NV12"].includes(sample.format);
    const frame = isPlain && this.colors ? await yuvFrame(sample, this.colors) : canvasFrame(canvas);
    const time = sample.timestamp;
    sample.close();
    this.count++;
    return { time, frame };
  }

  close() {
    this.samples.return();
    this.input.dispose();
  }
}

/** A camera: always its newest frame. */
export class CameraSource {
  isLive = true;
  name = "camera";

  static async open() {
    if (!navigator.mediaDevices) throw new Error("Cameras work on https:// pages and on localhost only.");
    const source = new CameraSource();
    source.stream = await navigator.mediaDevices.getUserMedia({ video: true }).catch((error) => {
      const denied = error.name === "NotAllowedError";
      throw new Error(denied ? "The camera was not allowed. Allow it in the address bar." : `No camera: ${error.message}`);
    });
    source.video = Object.assign(document.createElement("video"), { muted: true, playsInline: true });
    source.video.srcObject = source.stream;
    await source.video.play();
    source.ended = new Promise((resolve) => (source.stream.getVideoTracks()[0].onended = resolve));
    source.start = performance.now();
    return source;
  }

  /** Wait for a frame and draw it: {time, frame} as above, or null when the camera has gone. */
  async next(canvas) {
    const { video } = this;
    await Promise.race([this.ended, new Promise((resolve) => video.requestVideoFrameCallback(resolve))]);
    if (!this.stream.active) return null;
    resize(canvas, video.videoWidth, video.videoHeight);
    contextOf(canvas).drawImage(video, 0, 0);
    return { time: (performance.now() - this.start) / 1000, frame: canvasFrame(canvas) };
  }

  close() {
    for (const track of this.stream.getTracks()) track.stop();
  }
}

function resize(canvas, width, height) {
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
}

const contextOf = (canvas) => canvas.getContext("2d", { willReadFrequently: true });

/** A canvas as the frame that the tracker reads. */
function canvasFrame(canvas) {
  const read = (x, y, width, height) => contextOf(canvas).getImageData(x, y, width, height).data;
  return { width: canvas.width, height: canvas.height, read };
}

// From YUV to RGB, in 1/8192: red from V, blue from U, green from U and from V.
const BT601 = [13074.625, 16525.125, -3209.375, -6659.875], BT709 = [14686.125, 17304.75, -1746.875, -4365.625];

/** How the colors of a video are converted; null for matrices other than BT.601 (also if none is given) and BT.709. */
export function colorsOf({ matrix, fullRange }) {
  const limited = matrix === "bt709" ? BT709 : [undefined, null, "bt470bg", "smpte170m"].includes(matrix) ? BT601 : null;
  if (!limited) return null;
  const factors = limited.map((factor) => Math.round(fullRange ? (factor * 224) / 255 : factor));
  return { factors, black: fullRange ? 0 : 16, light: fullRange ? 8192 : 9539 };
}

/**
 * A decoded frame in YUV 4:2:0 as the frame that the tracker reads.
 *
 * Browsers convert to RGB each in their own way, and guess BT.709 where a file does not say. This is what OpenCV does
 * (FFmpeg's swscale on x86: nearest chroma, products of 16 bits), so that boxes are those of the Python programs.
 */
export async function yuvFrame(sample, { factors: [redV, blueU, greenU, greenV], black, light }) {
  const { width, height } = sample.visibleRect, bytes = new Uint8Array(sample.allocationSize());
  const [luma, u, third] = await sample.copyTo(bytes);
  const v = third ?? { offset: u.offset + 1, stride: u.stride }, pixelStep = third ? 1 : 2; // NV12 has U and V side by side
  const product = (value, factor) => (value * 8 * factor) >> 16;
  const read = (x, y, w, h) => {
    const out = new Uint8ClampedArray(4 * w * h);
    for (let j = y, at = 0; j < y + h; j++) {
      const lumaRow = luma.offset + j * luma.stride;
      const uRow = u.offset + (j >> 1) * u.stride, vRow = v.offset + (j >> 1) * v.stride;
      for (let i = x; i < x + w; i++, at += 4) {
        const chroma = (i >> 1) * pixelStep, gray = product(bytes[lumaRow + i] - black, light);
        const blue = bytes[uRow + chroma] - 128, red = bytes[vRow + chroma] - 128;
        out[at] = gray + product(red, redV);
        out[at + 1] = gray + product(blue, greenU) + product(red, greenV);
        out[at + 2] = gray + product(blue, blueU);
      }
    }
    return out;
  };
  return { width, height, read };
}
