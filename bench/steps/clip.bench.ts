// Training steps of networks with bounded activations (ReLU6 and the like) against the same networks with Relu, in one process,
// step by step in turn: milliseconds and processor time. Needs FROSTBIT_DATA for ResNet-20. Writes
// bench/results/<date>-<machine>-clip.json.
import { cpus } from "node:os";
import { parseArgs } from "node:util";
import { selectEngine } from "../../src/engines/select.ts";
import { median } from "../../src/evaluate/latency.ts";
import { loadNow, writeResults } from "../support/machine.ts";
import { type Bounds, benchModel, type ModelName, stepOf, type Variant } from "../support/model-step.ts";
import { type EngineChoice, engineChoice, engineTitle, variants } from "./variants.ts";

const { values } = parseArgs({
  options: {
    models: { type: "string", default: "resnet20,depthwise" },
    engines: { type: "string", default: "native:float32,native:mixed" },
    steps: { type: "string", default: "15" },
    threads: { type: "string", default: "2" },
  },
});
const modelNames = ["resnet20", "depthwise"] as const satisfies readonly ModelName[];
const models = values.models.split(",").map((name) => {
  const model = modelNames.find((known) => known === name);
  if (model === undefined) throw new Error(`"${name}" is not a model; expected ${modelNames.join(", ")}.`);
  return model;
});
const [steps, threads] = [values.steps, values.threads].map(Number);
const activations: Readonly<Record<string, Bounds | undefined>> = {
  Relu: undefined,
  "Clip 0, 6": [0, 6],
  "Clip 0, ∞": [0, null],
  "Clip -∞, 6": [null, 6],
  "Clip -1, 1": [-1, 1],
};
const timed: Readonly<Record<string, Variant>> = {
  float: { mode: "float", updateRatio: 1 },
  QAT: variants.QAT,
  "LWPN 5 %": variants["LWPN 5 %"],
};
const settings = { batch: 128, weights: 4, activations: 8 };

interface Times {
  readonly stepMs: number[];
  readonly processorMs: number[];
}

async function timeInTurn(
  model: ModelName,
  { engine, precision }: EngineChoice,
  variant: Variant,
): Promise<Readonly<Record<string, Times>>> {
  const compile = { threads, ...(precision === undefined ? {} : { precision }) };
  const programs = [];
  for (const [name, bounds] of Object.entries(activations)) {
    const graph = benchModel(model, bounds);
    const step = await stepOf(graph, selectEngine(engine), variant, { ...settings, compile });
    programs.push({ name, step, stepMs: [] as number[], processorMs: [] as number[] });
  }
  const warmUp = 2;
  for (let i = 0; i < steps + warmUp; i++)
    for (const { step, stepMs, processorMs } of programs) {
      const [start, before] = [performance.now(), process.cpuUsage()];
      await step.run();
      const { user, system } = process.cpuUsage(before);
      if (i < warmUp) continue;
      stepMs.push(performance.now() - start);
      processorMs.push((user + system) / 1000);
    }
  for (const { step } of programs) await step.dispose();
  return Object.fromEntries(programs.map(({ name, stepMs, processorMs }) => [name, { stepMs, processorMs }]));
}

const loadBefore = loadNow();
console.log(
  `${cpus()[0]?.model}; batch ${settings.batch}, W4A8, ${threads} threads; Relu's median of ${steps} steps in ms, and the others' as multiples of it, of time and of processor time; load before: ${loadBefore.toFixed(1)}`,
);
const results: Record<string, Readonly<Record<string, Times>>> = {};
const ratios: Record<string, readonly [number, number]> = {};
for (const model of models)
  for (const choice of values.engines.split(",").map(engineChoice))
    for (const [title, variant] of Object.entries(timed)) {
      const name = `${model}, ${engineTitle(choice)} ${title}`;
      const { Relu: relu, ...others } = await timeInTurn(model, choice, variant);
      results[name] = { Relu: relu, ...others };
      const columns = Object.entries(others).map(([activation, { stepMs, processorMs }]) => {
        const pair = [median(stepMs) / median(relu.stepMs), median(processorMs) / median(relu.processorMs)] as const;
        ratios[`${name}: ${activation}`] = pair;
        return `${activation}: ${pair.map((ratio) => ratio.toFixed(2)).join(" ")}`;
      });
      console.log(`${name.padEnd(38)} ${median(relu.stepMs).toFixed(1).padStart(6)}  ${columns.join("  ")}`);
    }
writeResults("clip", loadBefore, { ...settings, threads, steps, ratios, raw: results });
