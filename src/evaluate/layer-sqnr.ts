// How much quantization changes what each layer gives.
import { assert } from "../ir/errors.ts";
import { type Graph, producers } from "../ir/graph.ts";
import { numbersOf, type Tensor } from "../ir/tensor.ts";
import { removeDeadNodes } from "../passes/remove-dead-nodes.ts";
import type { Context } from "../training/context.ts";
import { withProgram } from "../training/with-program.ts";
import { difference, joinDifferences, noDifference, sqnrDb } from "./difference.ts";

type Batches = readonly ReadonlyMap<string, Tensor>[];

/** By layer, SQNR in dB of the value named, in `quantized` against `float`; layers whose value `float` lacks are left out. */
export async function layerSqnr(
  float: Graph,
  quantized: Graph,
  outputs: ReadonlyMap<string, string>,
  samples: Batches,
  context: Context,
): Promise<ReadonlyMap<string, number>> {
  const inFloat = producers(float);
  const common = [...outputs].filter(([, value]) => inFloat.has(value));
  const values = common.map(([, value]) => value);
  const references = await runAll(float, values, samples, context);
  const actuals = await runAll(quantized, values, samples, context);
  const totals = new Map(values.map((value) => [value, noDifference]));
  for (const [i, reference] of references.entries())
    for (const value of values) {
      const [a, b] = [reference.get(value), actuals[i].get(value)];
      assert(a && b, `layer output "${value}" is missing`);
      totals.set(value, joinDifferences(totals.get(value) ?? noDifference, difference(numbersOf(a), numbersOf(b))));
    }
  return new Map(common.map(([layer, value]) => [layer, sqnrDb(totals.get(value) ?? noDifference)]));
}

function runAll(
  graph: Graph,
  outputs: readonly string[],
  samples: Batches,
  context: Context,
): Promise<ReadonlyMap<string, Tensor>[]> {
  return withProgram(removeDeadNodes({ ...graph, outputs }), context, async (program) => {
    const results: ReadonlyMap<string, Tensor>[] = [];
    for (const inputs of samples)
      results.push(await program.run(inputs, context.signal ? { signal: context.signal } : {}));
    return results;
  });
}
