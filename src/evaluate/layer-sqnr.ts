// How much quantization changes what each layer gives.
import { assert } from "../ir/errors.ts";
import { type Graph, producers } from "../ir/graph.ts";
import { numbersOf, type Tensor } from "../ir/tensor.ts";
import { removeDeadNodes } from "../passes/remove-dead-nodes.ts";
import { type Context, signalOf } from "../run/context.ts";
import { withFewRuns } from "../run/with-few-runs.ts";
import { affordableSamples, planFetches } from "./batch-that-fits.ts";
import { difference, sqnrDb } from "./difference.ts";
import { countSamples, firstSamples, typedForOne } from "./first-samples.ts";

type Values = ReadonlyMap<string, Tensor>;

/**
 * By layer, SQNR in dB of the value named, in `quantized` against `float`, on the first samples of a batch; layers whose value
 * `float` lacks are left out.
 */
export async function layerSqnr(
  float: Graph,
  quantized: Graph,
  outputs: ReadonlyMap<string, string>,
  batch: Values,
  context: Context,
): Promise<ReadonlyMap<string, number>> {
  const inFloat = producers(float);
  const common = [...outputs].filter(([, value]) => inFloat.has(value));
  const values = [...new Set(common.map(([, value]) => value))];
  const typed = typedForOne(quantized, batch);
  const most = affordableSamples(typed, countSamples(quantized, batch));
  // In both graphs.
  const { samples, groups } = planFetches(typed, values, (value) => [value, value], most);
  const inputs = firstSamples(quantized, batch, samples);
  const found = new Map<string, number>();
  for (const group of groups) {
    const [reference, actual] = [
      await fetch(float, group, inputs, context),
      await fetch(quantized, group, inputs, context),
    ];
    for (const value of group) {
      const [a, b] = [reference.get(value), actual.get(value)];
      assert(a && b, `layer output "${value}" is missing`);
      found.set(value, sqnrDb(difference(numbersOf(a), numbersOf(b))));
    }
  }
  return new Map(common.map(([layer, value]) => [layer, found.get(value) as number]));
}

const fetch = (graph: Graph, outputs: readonly string[], inputs: Values, context: Context): Promise<Values> =>
  withFewRuns(removeDeadNodes({ ...graph, outputs }), context, (program) => program.run(inputs, signalOf(context)));
