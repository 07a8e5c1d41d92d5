// How much quantization changes what each layer gives.
import { assert } from "../ir/errors.ts";
import { type Graph, producers } from "../ir/graph.ts";
import { numbersOf, type Tensor } from "../ir/tensor.ts";
import { removeDeadNodes } from "../passes/remove-dead-nodes.ts";
import { type Context, signalOf } from "../run/context.ts";
import { withPrograms } from "../run/with-program.ts";
import { type Difference, difference, joinDifferences, noDifference, sqnrDb } from "./difference.ts";

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
  const values = [...new Set(common.map(([, value]) => value))];
  if (values.length === 0) return new Map();
  const totals = new Map(values.map((value) => [value, noDifference]));
  const graphs = [float, quantized].map((graph) => removeDeadNodes({ ...graph, outputs: values }));
  const options = signalOf(context);
  await withPrograms(graphs, context, async ([first, second]) => {
    // Batch by batch: what all layers give for all samples would not fit into memory.
    for (const inputs of samples)
      addDifferences(totals, await first.run(inputs, options), await second.run(inputs, options));
  });
  return new Map(common.map(([layer, value]) => [layer, sqnrDb(totals.get(value) ?? noDifference)]));
}

type Values = ReadonlyMap<string, Tensor>;

function addDifferences(totals: Map<string, Difference>, reference: Values, actual: Values): void {
  for (const [value, total] of totals) {
    const [a, b] = [reference.get(value), actual.get(value)];
    assert(a && b, `layer output "${value}" is missing`);
    totals.set(value, joinDifferences(total, difference(numbersOf(a), numbersOf(b))));
  }
}
