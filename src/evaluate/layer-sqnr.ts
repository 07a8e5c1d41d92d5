// How much quantization changes what each layer gives.
import { assert } from "../ir/errors.ts";
import { type Graph, producers } from "../ir/graph.ts";
import { numbersOf, type Tensor } from "../ir/tensor.ts";
import type { Context } from "../run/context.ts";
import { affordableSamples, planFetches } from "./batch-that-fits.ts";
import { difference, sqnrDb } from "./difference.ts";
import { fetchEach } from "./fetch-each.ts";
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
  const fetched = { groups, inputs, valuesOf: (value: string) => [value] };
  const references = fetchEach(float, fetched, context);
  const waiting = new Map<string, Tensor>();
  for await (const [value, actual] of fetchEach(quantized, fetched, context)) {
    while (!waiting.has(value)) {
      const next = await references.next();
      assert(!next.done, `layer output "${value}" is missing`);
      const [name, reference] = next.value;
      waiting.set(name, tensorNamed(reference, name));
    }
    const [a, b] = [tensorNamed(waiting, value), tensorNamed(actual, value)];
    found.set(value, sqnrDb(difference(numbersOf(a), numbersOf(b))));
    waiting.delete(value);
  }
  return new Map(common.map(([layer, value]) => [layer, found.get(value) as number]));
}

function tensorNamed(values: Values, name: string): Tensor {
  const found = values.get(name);
  assert(found, `layer output "${name}" is missing`);
  return found;
}
