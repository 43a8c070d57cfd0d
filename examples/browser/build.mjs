// Copies what the page loads from node_modules into vendor/, after which it needs no network. `npm install` runs it.

import { copyFileSync, existsSync, mkdirSync, statSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
const files = [
  "onnxruntime-web/dist/ort.wasm.min.mjs",
  "onnxruntime-web/dist/ort-wasm-simd-threaded.mjs",
  "onnxruntime-web/dist/ort-wasm-simd-threaded.wasm",
  "onnxruntime-web/dist/ort.webgpu.min.mjs",
  "onnxruntime-web/dist/ort-wasm-simd-threaded.asyncify.mjs",
  "onnxruntime-web/dist/ort-wasm-simd-threaded.asyncify.wasm",
  "mediabunny/dist/bundles/mediabunny.min.mjs",
];

mkdirSync(join(here, "vendor"), { recursive: true });
for (const file of files) {
  const source = join(here, "node_modules", file);
  if (!existsSync(source)) {
    console.error(`${source} is missing: run npm install`);
    process.exit(1);
  }
  copyFileSync(source, join(here, "vendor", basename(file)));
  console.log(`vendor/${basename(file)}  ${(statSync(source).size / 1e6).toFixed(1)} MB`);
}
