// Times one variant of a training step in a process of its own. Arguments: model, mode, ratio, batch, threads, steps, bits of weights and
// activations, engine.
import { type EngineName, selectEngine } from "../../src/engines/select.ts";
import { median } from "../../src/evaluate/latency.ts";
import { readModel } from "../../src/node/read-model.ts";
import { stepOf, type Variant } from "../support/model-step.ts";

const [model, mode, ratio, batch, threads, steps, weights, activations, engine = "onnxruntime"] = process.argv.slice(2);
const options = {
  batch: Number(batch),
  threads: Number(threads),
  weights: Number(weights),
  activations: Number(activations),
};
const variant = { mode, updateRatio: Number(ratio) } as Variant;
const step = await stepOf(readModel(model), selectEngine(engine as EngineName), variant, options);
const times: number[] = [];
for (let i = 0; i < Number(steps) + 3; i++) {
  const start = performance.now();
  await step.run();
  times.push(performance.now() - start);
}
await step.dispose();
const stepMs = times.slice(3);
const peakMemoryMb = process.resourceUsage().maxRSS / 1024;
console.log(JSON.stringify({ stepMs, medianMs: median(stepMs), compileMs: step.compileMs, peakMemoryMb }));
