// How far the outputs of a model's later stages are from the float model's.
import { batches } from "../data/batches.ts";
import type { Dataset } from "../data/dataset.ts";
import type { Preprocess } from "../data/preprocess.ts";
import { isFloat } from "../ir/dtype.ts";
import { assert } from "../ir/errors.ts";
import { numbersOf, type Tensor } from "../ir/tensor.ts";
import type { Context } from "../run/context.ts";
import { addDistance, type Distance, distanceOf, noDistance, type OutputDistance } from "./distance.ts";

export type RunModel = (inputs: ReadonlyMap<string, Tensor>) => Promise<ReadonlyMap<string, Tensor>>;

export interface FidelityOptions {
  readonly outputs: readonly string[];
  readonly preprocess: Preprocess;
  readonly batchSize: number;
  /** Outputs that are no class scores, though their shape be that of scores. */
  readonly measured?: ReadonlySet<string>;
}

/** By stage, what became of each output. */
export type Fidelity = ReadonlyMap<string, readonly OutputFidelity[]>;

export interface OutputFidelity extends OutputDistance {
  /** Σ (float − stage)² of each sample; empty for whole numbers. */
  readonly noiseBySample: readonly number[];
}

interface Total {
  readonly distance: Distance;
  readonly noiseBySample: number[];
}

/** By stage, its outputs' distances to the float model's, over the whole dataset. */
export async function measureFidelity(
  float: RunModel,
  stages: ReadonlyMap<string, RunModel>,
  dataset: Dataset,
  { outputs, preprocess, batchSize, measured }: FidelityOptions,
  context: Context,
): Promise<Fidelity> {
  const empty = (): Total => ({ distance: noDistance(), noiseBySample: [] });
  const totals = new Map([...stages.keys()].map((stage) => [stage, outputs.map(empty)]));
  let done = 0;
  for await (const { inputs, indices } of batches(dataset, { batchSize, preprocess })) {
    const expected = await float(inputs);
    for (const [stage, run] of stages) {
      const actual = await run(inputs);
      for (const [i, output] of outputs.entries()) {
        const [a, b] = [expected.get(output), actual.get(output)];
        const total = totals.get(stage)?.[i];
        assert(a && b && total, `stage "${stage}" lacks output "${output}"`);
        addDistance(total.distance, a, b, measured?.has(output) !== true);
        addNoise(total.noiseBySample, a, b, indices.length);
      }
    }
    done += indices.length;
    context.onProgress?.({ phase: "compare with float", done, total: dataset.length });
  }
  return new Map(
    [...totals].map(([stage, list]) => [
      stage,
      list.map(({ distance, noiseBySample }, i) => ({ ...distanceOf(outputs[i], distance), noiseBySample })),
    ]),
  );
}

/** An output whose elements do not divide among the samples has none of its own for each. */
function addNoise(noise: number[], a: Tensor, b: Tensor, samples: number): void {
  const size = a.data.length / samples;
  if (!isFloat(a.dtype) || !Number.isInteger(size)) return;
  const [expected, actual] = [numbersOf(a), numbersOf(b)];
  for (let sample = 0; sample < samples; sample++) {
    let sum = 0;
    for (let i = sample * size; i < (sample + 1) * size; i++) sum += (actual[i] - expected[i]) ** 2;
    noise.push(sum);
  }
}
