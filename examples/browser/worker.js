// Quantizes the shapes network away from the page's thread. ONNX Runtime is loaded when the first run starts.
import {
  parseDatasetModule,
  quantizeModel,
  readOnnx,
  resolvePreprocess,
  runOptions,
  runtimeOf,
} from "frostbit/browser";
import * as shapes from "../shapes/shapes.js";

const modules = {
  wasm: () => import("onnxruntime-web/wasm"),
  webgpu: () => import("onnxruntime-web/webgpu"),
};

addEventListener("message", async ({ data }) => {
  try {
    postMessage({ kind: "done", ...(await quantize(data)) });
  } catch (error) {
    postMessage({ kind: "failed", message: error.message });
  }
});

async function quantize({ bits, steps, images, provider }) {
  const start = performance.now();
  const response = await fetch(new URL("../shapes/shapes.onnx", import.meta.url));
  const file = new Uint8Array(await response.arrayBuffer());
  const { engine, openDeployed } = runtimeOf(await modules[provider](), { provider });
  const { train, test } = parseDatasetModule(shapes, "shapes.js");
  const training = { lr: 0.03, qparamLr: 0.002, schedule: "cosine", batch: 32, steps, augment: ["flip"] };
  const options = runOptions.parse({
    quantize: { weights: bits, activations: bits, calibrationSamples: 512 },
    methods: [{ efqat: { mode: "cwpl", updateRatio: 0.25, ...training } }],
    limit: images,
  });
  const { bytes, top1 } = await quantizeModel(
    {
      model: readOnnx(file, { name: "shapes.onnx" }),
      source: { train, test, heldOut: false },
      preprocess: resolvePreprocess("unit"),
      options,
      openDeployed,
    },
    { engine, seed: options.seed, onProgress: (progress) => postMessage({ kind: "progress", ...progress }) },
  );
  return { bytes, top1, sizeBytes: file.length, seconds: (performance.now() - start) / 1000 };
}
