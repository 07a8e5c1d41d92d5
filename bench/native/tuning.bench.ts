// Training steps with kernels chosen by rule and by measurement, in turn in one process. Arguments: model, batch, mode, precision,
// threads, rounds. Wants `npm run build:native`. Measured kernels are remembered, as always: XDG_CACHE_HOME names another folder.
import { type Precision, type Tuning, tunings } from "../../src/engines/engine.ts";
import { createNativeEngine } from "../../src/engines/native/native-engine.ts";
import { benchModel, type ModelName, type StepOfModel, stepOf, type Variant } from "../support/model-step.ts";

const [model = "resnet20", batch = "128", mode = "qat", precision = "mixed", threads = "2", rounds = "20"] =
  process.argv.slice(2);

const engine = createNativeEngine();
const steps: {
  readonly tuning: Tuning;
  readonly step: StepOfModel;
  readonly ms: number[];
  readonly cpuMs: number[];
}[] = [];
for (const tuning of tunings) {
  const variant = { mode: mode as Variant["mode"], updateRatio: 0.05 };
  const compile = {
    threads: Number(threads),
    precision: precision as Precision,
    kernels: { tuning, chosen: new Map<string, string>() },
  };
  const step = await stepOf(benchModel(model as ModelName), engine, variant, {
    batch: Number(batch),
    compile,
    weights: 4,
    activations: 8,
  });
  await step.run();
  steps.push({ tuning, step, ms: [], cpuMs: [] });
}
for (let round = 0; round < Number(rounds); round++)
  for (const { step, ms, cpuMs } of steps) {
    const [start, before] = [performance.now(), process.cpuUsage()];
    await step.run();
    ms.push(performance.now() - start);
    const { user, system } = process.cpuUsage(before);
    cpuMs.push((user + system) / 1000);
  }

const median = (values: readonly number[]): number => values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)];
console.log(`${model}, batch ${batch}, ${mode}, ${precision}, ${threads} threads: ms of a step`);
for (const { tuning, step, ms, cpuMs } of steps) {
  const figures = {
    median: median(ms),
    least: Math.min(...ms),
    processor: Math.min(...cpuMs),
    compile: step.compileMs,
  };
  const text = Object.entries(figures).map(([name, value]) => `${name} ${value.toFixed(1)}`);
  console.log(`${tuning.padEnd(8)}  ${text.join(", ")}`);
  await step.dispose();
}
