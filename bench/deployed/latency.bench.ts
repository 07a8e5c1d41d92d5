// Time of exported files in ONNX Runtime against the float model's: one process, in turn, medians.
// Arguments: float model, exported models. Needs models with one float input. Writes bench/results/<date>-<machine>-latency.json.
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { openDeployed } from "../../src/engines/onnxruntime/deployed.ts";
import { measureLatency } from "../../src/evaluate/latency.ts";
import { sizeOf, tensorOf } from "../../src/ir/tensor.ts";
import { versions } from "../../src/node/versions.ts";
import { machineName, root } from "../support/machine.ts";

const threads = 2;
const paths = process.argv.slice(2);
const models = await Promise.all(paths.map((path) => openDeployed(path, { threads })));
const [[name, { shape }]] = models[0].inputs;
const raw: object[] = [];
for (const batch of [1, 256]) {
  const sizes = [batch, ...shape.slice(1).map(Number)];
  const values = Float32Array.from({ length: sizeOf(sizes) }, (_, i) => 4 * ((i * 0.618033988749895) % 1) - 2);
  const times = await measureLatency(models, [new Map([[name, tensorOf("float32", sizes, values)]])], {
    budgetMs: 15_000,
    most: 400,
  });
  for (const [i, ms] of times.entries()) {
    const model = paths[i].split("/").slice(-2).join("/");
    raw.push({ batch, model, medianMs: ms });
    console.log(`batch ${batch}  ${ms.toFixed(2)} ms  ${(ms / times[0]).toFixed(2)}  ${model}`);
  }
}
const folder = join(root, "bench", "results");
mkdirSync(folder, { recursive: true });
const file = join(folder, `${new Date().toISOString().slice(0, 10)}-${machineName()}-latency.json`);
writeFileSync(file, `${JSON.stringify({ threads, versions: versions(), raw }, null, 1)}\n`);
