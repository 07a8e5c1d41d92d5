// Samples to calibrate with that no data gave: noise, or noise moved until it has the statistics that normalizations remember.
import { partOf } from "../data/batches.ts";
import { normalAt, randomBits } from "../data/random.ts";
import { batchAxes, inputTypes } from "../ir/batch-axes.ts";
import type { Builder } from "../ir/builder.ts";
import { isFloat } from "../ir/dtype.ts";
import { assert, FrostbitError } from "../ir/errors.ts";
import type { Graph, Node } from "../ir/graph.ts";
import { scalar, sizeOf, type Tensor, tensorOf } from "../ir/tensor.ts";
import { numberAttribute } from "../ops/attributes.ts";
import { setBatchSize } from "../passes/set-batch-size.ts";
import { runningNormalizations } from "../passes/train-batch-norm.ts";
import { type Context, signalOf } from "../run/context.ts";
import { withVariables } from "../run/with-program.ts";
import { scheduleFactor } from "../training/schedule.ts";
import { buildStep, type Step } from "../training/step.ts";
import { optimizerRule } from "../training/update-rules.ts";
import type { CalibrationBatches } from "./calibration-data.ts";

/** Where the samples come from that units train with. */
export const sampleSources = ["data", "noise", "distilled"] as const;

export interface MadeSamples {
  readonly source: Exclude<(typeof sampleSources)[number], "data">;
  readonly count: number;
  readonly batchSize: number;
  /** Steps of each batch of distilled ones. */
  readonly iterations: number;
}

/** Throws BAD_MODEL where none can be made for this model. */
export function checkMadeSamples(graph: Graph, source: MadeSamples["source"]): void {
  const fault = (what: string): FrostbitError =>
    new FrostbitError("BAD_MODEL", `calibration is ${source}, and ${what}. Use calibration: data.`);
  const whole = graph.inputs.find((input) => !isFloat(graph.values.get(input)?.dtype ?? "float32"));
  if (whole !== undefined) throw fault(`the model's input "${whole}" takes no floats`);
  if (source === "distilled" && graph.inputs.length > 1)
    throw fault(`the model has ${graph.inputs.length} inputs; samples are distilled for one`);
  if (source === "distilled" && runningNormalizations(graph).length === 0)
    throw fault("the model has no batch normalization whose statistics say what its inputs were like");
}

/** Batches all of one size, the same at each call: noise is drawn again, distilled samples are held in memory. */
export async function madeBatches(graph: Graph, made: MadeSamples, context: Context): Promise<CalibrationBatches> {
  const { source, count, batchSize } = made;
  const sized = setBatchSize(graph, batchSize);
  const batches = Math.floor(count / batchSize);
  const noise = (batch: number): ReadonlyMap<string, Tensor> =>
    new Map(sized.inputs.map((input, i) => [input, noiseOf(sized, input, [context.seed, batch, i])]));
  if (source === "noise")
    return async function* drawn(part) {
      const [first, end] = partOf(batches, part);
      for (let batch = first; batch < end; batch++) yield noise(batch);
    };
  const distilled = await distill({ ...made, graph: sized, starts: batches, noise }, context);
  return async function* held(part) {
    yield* distilled.slice(...partOf(batches, part));
  };
}

/** What all distilled samples take, and a batch of noise. */
export function madeBytes(graph: Graph, { source, count, batchSize }: Omit<MadeSamples, "iterations">): number {
  const types = inputTypes(graph);
  const axes = batchAxes(types);
  const elements = [...types].map(([input, { shape }]) =>
    shape.reduce<number>((size, dim, axis) => size * (axis === axes.get(input) ? 1 : Number(dim) || 1), 1),
  );
  return 4 * elements.reduce((sum, size) => sum + size, 0) * (source === "noise" ? batchSize : count);
}

/** Standard normal, as normalized images are. */
function noiseOf({ values }: Graph, input: string, counters: readonly number[]): Tensor {
  const type = values.get(input);
  assert(type, `input "${input}" has no type`);
  const shape = type.shape.map(Number);
  const counter = randomBits(...counters);
  return tensorOf(
    type.dtype,
    shape,
    Float64Array.from({ length: sizeOf(shape) }, (_, i) => normalAt(counter, i)),
  );
}

const rateInput = "frostbit/distillation_rate";
const startRate = 0.1;
const schedule = { schedule: "cosine", warmup: 0, milestones: [], decay: 1 } as const;

interface Distillation extends MadeSamples {
  /** Of static shapes, with one input. */
  readonly graph: Graph;
  /** How many batches. */
  readonly starts: number;
  readonly noise: (batch: number) => ReadonlyMap<string, Tensor>;
}

/** Each batch steps by Adam from noise. */
async function distill(
  { graph, starts, noise, iterations }: Distillation,
  context: Context,
): Promise<readonly ReadonlyMap<string, Tensor>[]> {
  const [input] = graph.inputs;
  const step = stepOf(graph, input, noise(0));
  return withVariables(step.graph, step.initial, context, async (program, variables) => {
    const done: ReadonlyMap<string, Tensor>[] = [];
    for (let batch = 0; batch < starts; batch++) {
      for (const [name, value] of [...step.initial, ...noise(batch)]) await variables.write(name, value);
      const { dtype } = await variables.read(input);
      for (let at = 0; at < iterations; at++) {
        const rate = startRate * scheduleFactor(schedule, at, iterations);
        await program.run(new Map([[rateInput, scalar(dtype, rate)]]), signalOf(context));
      }
      done.push(new Map([[input, await variables.read(input)]]));
      context.onProgress?.({ phase: "distill samples", done: batch + 1, total: starts });
    }
    return done;
  });
}

const stepOf = (graph: Graph, input: string, start: ReadonlyMap<string, Tensor>): Step =>
  buildStep({
    forward: { ...graph, inputs: [], variables: [...graph.variables, input] },
    start,
    loss: addStatisticsLoss,
    parameters: [
      {
        name: input,
        rule: optimizerRule({ kind: "adam", weightDecay: 0 }),
        learningRate: rateInput,
        trains: "all",
        isClipped: false,
      },
    ],
    microBatches: 1,
  });

/**
 * Σ over normalizations of the mean over channels of (μ − running mean)² + (σ − running deviation)², of what enters them (ZeroQ,
 * arXiv:2001.00281, eq. 3).
 */
export function addStatisticsLoss(build: Builder, graph: Graph): string {
  const terms = runningNormalizations(graph).map((node) => addDistance(build, node));
  return terms.reduce((sum, term) => build.node("Add", [sum, term]));
}

function addDistance(build: Builder, node: Node): string {
  const [x, , , mean, variance] = node.inputs;
  const epsilon = build.scalar(numberAttribute(node, "epsilon", 1e-5), x);
  const axes = build.ints(
    build
      .type(x)
      .shape.map((_, axis) => axis)
      .filter((axis) => axis !== 1),
  );
  const over = (value: string, keepdims: number): string => build.node("ReduceMean", [value, axes], { keepdims });
  const square = (value: string): string => build.node("Mul", [value, value]);
  const deviationOf = (spread: string): string => build.node("Sqrt", [build.node("Add", [spread, epsilon])]);
  const centered = build.node("Sub", [x, over(x, 1)]);
  const moved = build.node("Sub", [over(x, 0), mean]);
  const wider = build.node("Sub", [deviationOf(over(square(centered), 0)), deviationOf(variance)]);
  const both = build.node("Add", [square(moved), square(wider)]);
  return build.node("ReduceMean", [both], { keepdims: 0 });
}
