// How far the model's outputs move when weights are replaced: one program serves every replacement.
import type { Variables } from "../../engines/engine.ts";
import { difference } from "../../evaluate/difference.ts";
import { assert } from "../../ir/errors.ts";
import type { Graph } from "../../ir/graph.ts";
import { numbersOf, type Tensor } from "../../ir/tensor.ts";
import { floatOutputs, scoresWithoutLabels } from "../../passes/class-scores.ts";
import { removeDeadNodes } from "../../passes/remove-dead-nodes.ts";
import { type Context, signalOf } from "../../run/context.ts";
import { withVariables } from "../../run/with-program.ts";
import { makeVariables } from "../../training/make-variables.ts";

export type Inputs = ReadonlyMap<string, Tensor>;
export type Weights = ReadonlyMap<string, Tensor>;

/** A model, weights of which may be replaced, and what it is run on. */
export interface Subject {
  readonly graph: Graph;
  /** Constants of the graph. */
  readonly weights: readonly string[];
  readonly batches: readonly Inputs[];
}

/**
 * Class scores of shape [samples, classes], before a Softmax; `undefined` where the output is anything else, or there are several: of
 * these all count.
 */
export function classLogits(graph: Graph): string | undefined {
  if (floatOutputs(graph).length > 1) return undefined;
  const scores = scoresWithoutLabels(graph);
  return scores?.axis === 1 && graph.values.get(scores.logits)?.shape.length === 2 ? scores.logits : undefined;
}

/** Distance of the outputs to those of the model as it is, with these weights in place of its own. */
export type Divergence = (replaced: Weights) => Promise<number>;

/**
 * Of class scores the mean of KL(softmax(as it is) ‖ softmax(replaced)) over samples, in nats; of other outputs the sum of their
 * noise to signal ratios.
 */
export async function withDivergence<T>(
  { graph, weights, batches }: Subject,
  context: Context,
  use: (divergence: Divergence) => Promise<T>,
): Promise<T> {
  const logits = classLogits(graph);
  const outputs = logits === undefined ? floatOutputs(graph) : [logits];
  const { graph: replaceable, initial } = makeVariables(removeDeadNodes({ ...graph, outputs }), weights);
  return withVariables(replaceable, initial, context, async (program, variables) => {
    const runAll = async (): Promise<readonly (readonly Tensor[])[]> => {
      const results: (readonly Tensor[])[] = [];
      for (const inputs of batches) {
        const run = await program.run(inputs, signalOf(context));
        results.push(outputs.map((name) => keep(run.get(name), name)));
      }
      return results;
    };
    const expected = await runAll();
    return await use(async (replaced) => {
      await write(variables, replaced);
      const actual = await runAll();
      await write(variables, new Map([...replaced.keys()].map((name) => [name, keep(initial.get(name), name)])));
      return logits === undefined ? noiseToSignal(expected, actual) : meanDivergence(expected.flat(), actual.flat());
    });
  });
}

function keep(value: Tensor | undefined, name: string): Tensor {
  assert(value, `no value "${name}"`);
  return value;
}

async function write(variables: Variables, values: Weights): Promise<void> {
  for (const [name, value] of values) await variables.write(name, value);
}

/** KL(softmax(expected) ‖ softmax(actual)), the mean over rows; scores are [samples, classes]. */
function meanDivergence(expected: readonly Tensor[], actual: readonly Tensor[]): number {
  let [total, rows] = [0, 0];
  expected.forEach((tensor, i) => {
    const classes = tensor.shape[1];
    const [p, q] = [logSoftmax(numbersOf(tensor), classes), logSoftmax(numbersOf(actual[i]), classes)];
    for (let at = 0; at < p.length; at++) total += Math.exp(p[at]) * (p[at] - q[at]);
    rows += tensor.shape[0];
  });
  return total / rows;
}

/** Of each row. */
export function logSoftmax(scores: ArrayLike<number>, classes: number): Float64Array {
  const result = Float64Array.from(scores);
  for (let start = 0; start < result.length; start += classes) {
    const row = result.subarray(start, start + classes);
    const largest = row.reduce((a, b) => Math.max(a, b), Number.NEGATIVE_INFINITY);
    const sum = row.reduce((total, value) => total + Math.exp(value - largest), 0);
    row.forEach((value, i) => {
      row[i] = value - largest - Math.log(sum);
    });
  }
  return result;
}

function noiseToSignal(expected: readonly (readonly Tensor[])[], actual: readonly (readonly Tensor[])[]): number {
  const outputs = expected[0].map((_, output) => {
    const parts = expected.map((batch, i) => difference(numbersOf(batch[output]), numbersOf(actual[i][output])));
    const noise = parts.reduce((sum, part) => sum + part.noise, 0);
    const signal = parts.reduce((sum, part) => sum + part.signal, 0);
    return noise === 0 ? 0 : noise / signal;
  });
  return outputs.reduce((sum, value) => sum + value, 0);
}
