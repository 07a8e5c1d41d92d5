// What follows a unit in the float model, up to its class scores: what losses that look at the predictions go through.
import type { Builder } from "../ir/builder.ts";
import { FrostbitError } from "../ir/errors.ts";
import type { Graph } from "../ir/graph.ts";
import type { Tensor } from "../ir/tensor.ts";
import { type ClassScores, likelyScores } from "../passes/class-scores.ts";
import { inlineGraph } from "../passes/inline-graph.ts";
import { setBatchSize } from "../passes/set-batch-size.ts";
import { cutUnit } from "../units/cut-unit.ts";
import type { Unit } from "../units/units.ts";

export interface Rest {
  readonly graph: Graph;
  readonly scores: Pick<ClassScores, "logits" | "axis">;
  /** What it reads besides what the unit gives: values of units before. */
  readonly besides: readonly string[];
}

/** What a unit's part in the class scores is told by. */
export interface Predictions {
  readonly rest: Rest;
  /** The float model's class scores of samples. */
  readonly scores: (samples: ArrayLike<number>) => Tensor;
}

/** The class scores that predictions are compared by. */
export function predictedScores(float: Graph): ClassScores {
  const scores = likelyScores(float);
  if (scores) return scores;
  throw new FrostbitError(
    "BAD_MODEL",
    `The first output "${float.outputs[0]}" shows no class scores, which --reconstruction-loss prediction, fisher-diagonal and fisher-full look at. Name the output that holds them with --outputs, or use --reconstruction-loss mse.`,
  );
}

/** Behind the unit at `index`, for batches of this size. */
export function restOf(float: Graph, units: readonly Unit[], index: number, batch: number): Rest {
  const scores = predictedScores(float);
  const made = new Set([...float.inputs, ...units.slice(0, index + 1).flatMap(({ outputs }) => outputs)]);
  const sized = cutUnit(setBatchSize(float, batch), [...made], [scores.logits]);
  const read = new Set([...sized.nodes.flatMap(({ inputs }) => inputs), scores.logits]);
  const inputs = sized.inputs.filter((input) => read.has(input));
  const own = new Set(units[index].outputs);
  return { graph: { ...sized, inputs }, scores, besides: inputs.filter((input) => !own.has(input)) };
}

/** The input that holds what the rest reads besides the unit's outputs. */
export const besidesInput = (value: string): string => `frostbit/rest:${value}`;

/** The class scores that the rest gives for a unit's outputs, which `build` holds under these names. */
export function addRest(
  build: Builder,
  { graph, scores, besides }: Rest,
  outputs: ReadonlyMap<string, string>,
): string {
  const given = new Map(outputs);
  for (const value of besides) {
    const { dtype, shape } = graph.values.get(value) ?? build.type(value);
    given.set(value, build.input(besidesInput(value), { dtype, shape }));
  }
  const values = inlineGraph(build, graph, "rest/", given);
  return values.get(scores.logits) ?? scores.logits;
}
