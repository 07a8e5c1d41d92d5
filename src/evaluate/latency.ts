// Time of one run in the runtime that deploys: models in turn, medians.
import type { TypedArray } from "../ir/dtype.ts";
import type { Tensor } from "../ir/tensor.ts";
import { arraysOf } from "../run/with-program.ts";
import type { ModelFile } from "./model-file.ts";

type Timed = Pick<ModelFile, "run">;

export const median = (values: readonly number[]): number => {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
};

/** Median milliseconds of each model for all `parts` one after another: the models in turn, once to warm up and then for about `budgetMs`. */
export async function measureLatency(
  models: readonly Timed[],
  parts: readonly ReadonlyMap<string, Tensor>[],
  { budgetMs = 500, most = 50 }: { budgetMs?: number; most?: number } = {},
): Promise<readonly number[]> {
  const times: number[][] = models.map(() => []);
  // What is in memory of a run is let go of before the next, not when it is collected.
  const spares = models.map((): ReadonlyMap<string, TypedArray> => new Map());
  const run = async (i: number, inputs: ReadonlyMap<string, Tensor>): Promise<void> => {
    spares[i] = arraysOf(await models[i].run(inputs, undefined, spares[i]));
  };
  for (const i of models.keys()) await run(i, parts[0]);
  const start = performance.now();
  for (let round = 0; round === 0 || (round < most && performance.now() - start < budgetMs); round++) {
    for (const i of models.keys()) {
      const before = performance.now();
      for (const inputs of parts) await run(i, inputs);
      times[i].push(performance.now() - before);
    }
  }
  return times.map(median);
}
