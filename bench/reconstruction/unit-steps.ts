// Steps of ResNet-20's blocks, as reconstruction runs them and in float, timed in turn in one process.
import type { Engine } from "../../src/engines/engine.ts";
import { selectEngine } from "../../src/engines/select.ts";
import { median } from "../../src/evaluate/latency.ts";
import type { Graph } from "../../src/ir/graph.ts";
import { scalar } from "../../src/ir/tensor.ts";
import { setBatchSize } from "../../src/passes/set-batch-size.ts";
import { linearLayers } from "../../src/quantizers/linear-layers.ts";
import { makeVariables } from "../../src/training/make-variables.ts";
import { buildStep } from "../../src/training/step.ts";
import { optimizerRule } from "../../src/training/update-rules.ts";
import { cutUnit } from "../../src/units/cut-unit.ts";
import { reconstructionError } from "../../src/units/train-unit.ts";
import { cutIntoUnits } from "../../src/units/units.ts";
import { uniform } from "../support/tensors.ts";
import { type RecordedStep, recordSteps } from "./record-steps.ts";
import { type MethodRequest, prepare } from "./resnet20.ts";

/** Blocks of which the others of their stage have the structure. */
export const timedBlocks = ["layer1.0", "layer2.1", "layer3.1"] as const;
const timedSteps = ["float", "weights", "qdrop"] as const;
type StepName = (typeof timedSteps)[number];

const batch = 32;

async function stepsOf(request: MethodRequest, engine: Engine): Promise<ReadonlyMap<string, RecordedStep>> {
  const { run } = await prepare(request, engine, () => undefined);
  return recordSteps(engine, run);
}

/** Forward, squared error, and the gradients of the weights alone, with a plain step by them. */
function floatStep(float: Graph, block: string): RecordedStep {
  const unit = cutIntoUnits(float, "block").find(({ name }) => name === block);
  if (!unit) throw new Error(`There is no block "${block}".`);
  const cut = cutUnit(setBatchSize(float, batch), unit.inputs, unit.outputs);
  const weights = linearLayers(cut).map(({ weight }) => weight);
  const { graph: forward, initial: start } = makeVariables(cut, weights);
  const rule = optimizerRule({ kind: "sgd", momentum: 0, weightDecay: 0 });
  const rate = "rate";
  const { graph, initial } = buildStep({
    forward,
    start,
    loss: (build, unitGraph) => {
      const targets = unit.targets.map((name) => [name, build.input(`target ${name}`, build.type(name))] as const);
      return reconstructionError(build, unitGraph, new Map(targets));
    },
    parameters: weights.map((name) => ({ name, rule, learningRate: rate, trains: "all", isClipped: false })),
    microBatches: 1,
  });
  const inputs = graph.inputs.map((name) => {
    const shape = graph.values.get(name)?.shape.map(Number) ?? [];
    return [name, name === rate ? scalar("float32", 0) : uniform(shape, 1, 0)] as const;
  });
  return { graph, initial, inputs: new Map(inputs) };
}

interface StepTimes {
  readonly ms: number[];
  readonly processorMs: number[];
}

export type UnitTimes = Readonly<Record<StepName, StepTimes>>;

/** By block. */
export async function timeUnitSteps(threads: number, steps: number): Promise<Readonly<Record<string, UnitTimes>>> {
  const engine = selectEngine("native");
  const request = { weights: 4, activations: 4, engine: "native", threads } as const;
  const options = { iterations: 1, roundingSamples: 2 * batch, ranges: "calibrated" };
  const { model } = await prepare({ ...request, method: "ptq", options: {} }, engine, () => undefined);
  const [weights, qdrop] = [
    await stepsOf({ ...request, method: "adaround", options: { ...options, unit: "block" } }, engine),
    await stepsOf({ ...request, method: "qdrop", options: { ...options, activationRanges: "calibrated" } }, engine),
  ];
  const results: Record<string, UnitTimes> = {};
  for (const block of timedBlocks) {
    const [ours, dropped] = [weights.get(block), qdrop.get(block)];
    if (!ours || !dropped) throw new Error(`No step of "${block}" was compiled.`);
    const all = { float: floatStep(model.float, block), weights: ours, qdrop: dropped };
    results[block] = await timeInTurn(engine, all, threads, steps);
  }
  return results;
}

async function timeInTurn(
  engine: Engine,
  all: Readonly<Record<StepName, RecordedStep>>,
  threads: number,
  steps: number,
): Promise<UnitTimes> {
  const times = { float: emptyTimes(), weights: emptyTimes(), qdrop: emptyTimes() };
  const programs = [];
  for (const name of timedSteps) {
    const { graph, initial, inputs } = all[name];
    const executable = await engine.compile(graph, { threads });
    const program = executable.bind(await engine.variables(initial));
    programs.push({ name, run: () => program.run(inputs, { fetch: graph.outputs.slice(0, 1) }), executable });
  }
  const warmUp = 5;
  for (let i = 0; i < steps + warmUp; i++)
    for (const { name, run } of programs) {
      const [start, before] = [performance.now(), process.cpuUsage()];
      await run();
      const { user, system } = process.cpuUsage(before);
      if (i < warmUp) continue;
      times[name].ms.push(performance.now() - start);
      times[name].processorMs.push((user + system) / 1000);
    }
  for (const { executable } of programs) await executable.dispose();
  return times;
}

const emptyTimes = (): StepTimes => ({ ms: [], processorMs: [] });

/** Of the float step's median: of time, and of processor time. */
export const ratiosOf = (times: UnitTimes, name: StepName): readonly [time: number, processor: number] => [
  median(times[name].ms) / median(times.float.ms),
  median(times[name].processorMs) / median(times.float.processorMs),
];
