// How far the outputs of a model's later stages are from the float model's.
import { batches } from "../data/batches.ts";
import type { Dataset } from "../data/dataset.ts";
import type { Preprocess } from "../data/preprocess.ts";
import { startCounting, type Tally } from "../distributed/tally.ts";
import { isFloat } from "../ir/dtype.ts";
import { assert } from "../ir/errors.ts";
import { numbersOf, type Tensor } from "../ir/tensor.ts";
import type { Context } from "../run/context.ts";
import {
  addDistance,
  distanceFrom,
  distanceOf,
  distanceTally,
  noDistance,
  type OutputDistance,
  tallyOfDistance,
} from "./distance.ts";

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

/** By stage, its outputs' distances to the float model's, over the whole dataset; several processes share the batches. */
export async function measureFidelity(
  float: RunModel,
  stages: ReadonlyMap<string, RunModel>,
  dataset: Dataset,
  { outputs, preprocess, batchSize, measured }: FidelityOptions,
  { communicator, onProgress }: Context,
): Promise<Fidelity> {
  const counting = startCounting(communicator);
  const total = dataset.length;
  let done = 0;
  for await (const { inputs, indices } of batches(dataset, { batchSize, preprocess, part: communicator })) {
    const expected = await float(inputs);
    const tallies: Tally[] = [];
    for (const [stage, run] of stages) {
      const actual = await run(inputs);
      for (const output of outputs) {
        const [a, b] = [expected.get(output), actual.get(output)];
        assert(a && b, `stage "${stage}" lacks output "${output}"`);
        const distance = noDistance();
        addDistance(distance, a, b, measured?.has(output) !== true);
        const { sums, lists } = tallyOfDistance(distance);
        tallies.push({ sums, lists: [...lists, noiseOf(a, b, indices.length)] });
      }
    }
    counting.add({ sums: tallies.flatMap(({ sums }) => sums), lists: tallies.flatMap(({ lists }) => lists) });
    done = Math.min(total, done + indices.length * (communicator?.size ?? 1));
    onProgress?.({ phase: "compare with float", done, total });
  }
  const counted = await counting.end();
  assert(counted, "a comparison of no samples");
  return new Map(
    [...stages.keys()].map((stage, s) => [
      stage,
      outputs.map((name, i) => fidelityOf(name, s * outputs.length + i, counted)),
    ]),
  );
}

/** Of an output, from the tally after `index` others. */
function fidelityOf(name: string, index: number, { sums, lists }: Tally): OutputFidelity {
  const [ownSums, ownLists] = [distanceTally.sums, distanceTally.lists + 1];
  const own = {
    sums: sums.slice(ownSums * index, ownSums * (index + 1)),
    lists: lists.slice(ownLists * index, ownLists * (index + 1)),
  };
  const noiseBySample = Array.from(own.lists[distanceTally.lists]);
  return { ...distanceOf(name, distanceFrom(own)), noiseBySample };
}

/** An output whose elements do not divide among the samples has none of its own for each. */
function noiseOf(a: Tensor, b: Tensor, samples: number): readonly number[] {
  const size = a.data.length / samples;
  if (!isFloat(a.dtype) || !Number.isInteger(size)) return [];
  const [expected, actual] = [numbersOf(a), numbersOf(b)];
  return Array.from({ length: samples }, (_, sample) => {
    let sum = 0;
    for (let i = sample * size; i < (sample + 1) * size; i++) sum += (actual[i] - expected[i]) ** 2;
    return sum;
  });
}
