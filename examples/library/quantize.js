// Frostbit as a library: a network that tells shapes apart, quantized to 4 bits and trained for half an epoch.
import { openData, quantizeFile, resolvePreprocess, runOptions, selectEngine } from "frostbit";

const shapes = "node_modules/frostbit/examples/shapes";
const training = { lr: 0.03, qparamLr: 2e-3, schedule: "cosine", batch: 64, epochs: 0.5, augment: ["flip"] };

const { report, modelPath } = await quantizeFile({
  modelPath: `${shapes}/shapes.onnx`,
  source: await openData(`module:${shapes}/shapes.js`),
  preprocess: resolvePreprocess("unit"),
  options: runOptions.parse({
    quantize: { weights: 4, activations: 4, calibrationSamples: 2048 },
    methods: [{ efqat: { mode: "cwpl", updateRatio: 0.25, ...training } }],
  }),
  engine: selectEngine("auto"),
  out: "out",
});

console.table(report.top1);
console.log(`${modelPath}: ${report.sizeBytes.quantized} bytes instead of ${report.sizeBytes.float}`);

// Checked where this example runs as a test.
const floor = Number(process.env.ACCURACY_FLOOR ?? 0);
if (report.top1.deployed < floor) throw new Error(`top-1 is ${report.top1.deployed} %, below ${floor} %`);
