// How far the outputs of a model's later stages are from the float model's, where there are no labels to measure against.
import { batches } from "../data/batches.ts";
import type { Dataset } from "../data/dataset.ts";
import type { Preprocess } from "../data/preprocess.ts";
import { assert } from "../ir/errors.ts";
import type { Tensor } from "../ir/tensor.ts";
import type { Context } from "../run/context.ts";
import { addDistance, distanceOf, noDistance, type OutputDistance } from "./distance.ts";

export type RunModel = (inputs: ReadonlyMap<string, Tensor>) => Promise<ReadonlyMap<string, Tensor>>;

export interface FidelityOptions {
  readonly outputs: readonly string[];
  readonly preprocess: Preprocess;
  readonly batchSize: number;
}

/** By stage, its outputs' distances to the float model's, over the whole dataset. */
export async function measureFidelity(
  float: RunModel,
  stages: ReadonlyMap<string, RunModel>,
  dataset: Dataset,
  { outputs, preprocess, batchSize }: FidelityOptions,
  context: Context,
): Promise<ReadonlyMap<string, readonly OutputDistance[]>> {
  const totals = new Map([...stages.keys()].map((stage) => [stage, outputs.map(noDistance)]));
  let done = 0;
  for await (const { inputs, indices } of batches(dataset, { batchSize, preprocess })) {
    const expected = await float(inputs);
    for (const [stage, run] of stages) {
      const actual = await run(inputs);
      for (const [i, output] of outputs.entries()) {
        const [a, b] = [expected.get(output), actual.get(output)];
        assert(a && b, `stage "${stage}" lacks output "${output}"`);
        addDistance(totals.get(stage)?.[i] ?? noDistance(), a, b);
      }
    }
    done += indices.length;
    context.onProgress?.({ phase: "compare with float", done, total: dataset.length });
  }
  return new Map([...totals].map(([stage, list]) => [stage, list.map((total, i) => distanceOf(outputs[i], total))]));
}
