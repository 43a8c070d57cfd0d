// Loads ONNX Runtime and the exported network, and says in plain words what is missing.

import { Model } from "./tracker.js";

const EXPORT =
  "python tracking/export.py --config seqtrack_demo --format onnx --precision float16 --output examples/browser/model";
const MOST_THREADS = 4; // more gain nothing for networks of this size

/** Add the headers that threads need, by a service worker; the page is loaded again when they come into effect. */
export async function allowThreads() {
  if (self.crossOriginIsolated || !navigator.serviceWorker || !self.isSecureContext) return;
  try {
    await navigator.serviceWorker.register("sw.js");
    await navigator.serviceWorker.ready;
    if (sessionStorage.getItem("reloaded")) return; // this browser does without
    sessionStorage.setItem("reloaded", "yes");
    location.reload();
    await new Promise(() => {});
  } catch {
    // Without a service worker (private windows of some browsers) one thread does the work.
  }
}

/**
 * @param wanted "auto", "webgpu" or "wasm"
 * @param report called with texts about the progress
 * @returns {model, place}: the network, and in words where it runs
 */
export async function loadModel(wanted, report) {
  if (typeof WebAssembly !== "object") {
    throw new Error("This browser has no WebAssembly, which the network needs. Current versions of Chrome, Edge, Firefox and Safari have it.");
  }
  const folder = new URLSearchParams(location.search).get("model") ?? "model";
  const embed = await download(`${folder}/embed_template.onnx`, report);
  const step = await download(`${folder}/step.onnx`, report);
  report("Preparing the network …");
  if (wanted !== "wasm" && (await hasWebGpu(wanted === "webgpu"))) {
    try {
      const ort = await runtime("ort.webgpu.min.mjs");
      return { model: await Model.load(ort, embed, step, ["webgpu", "wasm"]), place: "WebGPU" };
    } catch (error) {
      if (wanted === "webgpu") throw error;
      console.info(`WebGPU is not used: ${error.message}`);
    }
  } else if (wanted === "webgpu") {
    throw new Error("This browser offers no WebGPU here: choose WebAssembly instead.");
  }
  const ort = await runtime("ort.wasm.min.mjs");
  const threads = self.crossOriginIsolated ? Math.min(navigator.hardwareConcurrency || 1, MOST_THREADS) : 1;
  ort.env.wasm.numThreads = threads;
  ort.env.wasm.proxy = true; // in a worker: the page stays responsive
  const model = await Model.load(ort, embed, step, ["wasm"]);
  return { model, place: `WebAssembly, ${threads} ${threads === 1 ? "thread" : "threads"}` };
}

/** Whether there is a GPU; one that is emulated by the processor counts only if `emulated`. */
async function hasWebGpu(emulated) {
  const adapter = await navigator.gpu?.requestAdapter().catch(() => null);
  return Boolean(adapter) && (emulated || !adapter.info?.isFallbackAdapter);
}

async function runtime(name) {
  try {
    return await import(`./vendor/${name}`);
  } catch (error) {
    throw new Error(`vendor/${name} cannot be loaded: run "npm install" in examples/browser. (${error.message})`);
  }
}

/** The bytes of a file; what the browser has kept of it counts only if the server says that it is still the same. */
async function download(path, report) {
  const response = await fetch(path, { cache: "no-cache" }).catch((error) => ({ ok: false, statusText: error.message }));
  if (!response.ok) {
    throw new Error(`The file ${path} of the network is missing (${response.statusText || response.status}). Make it with: ${EXPORT}`);
  }
  const total = Number(response.headers.get("Content-Length")) || 0;
  const parts = [];
  let length = 0;
  for (const reader = response.body.getReader(); ; ) {
    const { done, value } = await reader.read();
    if (done) break;
    parts.push(value);
    length += value.length;
    const size = total > 1e6 ? ` of ${(total / 1e6).toFixed(0)}` : "";
    report(`Loading the network: ${(length / 1e6).toFixed(0)}${size} MB`);
  }
  const bytes = new Uint8Array(length);
  parts.reduce((at, part) => (bytes.set(part, at), at + part.length), 0);
  return bytes;
}
