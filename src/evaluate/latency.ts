// Time of one run in the runtime that deploys: models in turn, medians.
import type { Tensor } from "../ir/tensor.ts";

export interface Timed {
  run(inputs: ReadonlyMap<string, Tensor>): Promise<unknown>;
}

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
  for (const model of models) await model.run(parts[0]);
  const start = performance.now();
  for (let round = 0; round === 0 || (round < most && performance.now() - start < budgetMs); round++) {
    for (const [i, model] of models.entries()) {
      const before = performance.now();
      for (const inputs of parts) await model.run(inputs);
      times[i].push(performance.now() - before);
    }
  }
  return times.map(median);
}
