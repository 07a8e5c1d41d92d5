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

/** Median milliseconds of each model on the same inputs: in turn, after `warmUp` runs, for about `budgetMs` in all. */
export async function measureLatency(
  models: readonly Timed[],
  inputs: ReadonlyMap<string, Tensor>,
  { warmUp = 2, budgetMs = 2000, most = 50 }: { warmUp?: number; budgetMs?: number; most?: number } = {},
): Promise<readonly number[]> {
  const times: number[][] = models.map(() => []);
  for (let i = 0; i < warmUp; i++) for (const model of models) await model.run(inputs);
  const start = performance.now();
  for (let round = 0; round < most && (round < 5 || performance.now() - start < budgetMs); round++) {
    for (const [i, model] of models.entries()) {
      const before = performance.now();
      await model.run(inputs);
      times[i].push(performance.now() - before);
    }
  }
  return times.map(median);
}
