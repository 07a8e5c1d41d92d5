// Which statistics batch normalization trains with, where the options leave it open (docs/decisions/0026).
import type { Graph } from "../ir/graph.ts";
import { runningStatistics } from "../passes/train-batch-norm.ts";
import type { TrainingOptions } from "../training/options.ts";

/** Shorter runs end with running statistics that are neither the float model's nor those of the trained one. */
const shortRun = 150;

/** Per sample of a batch: without the batches' statistics nothing bounds what larger steps do. */
const mostRate = 1e-3 / 32;

export interface ChosenStatistics {
  /** In place of "auto". */
  readonly freezeStatistics: number;
  /** What was chosen and why; absent where there was nothing to choose. */
  readonly note?: string;
}

export function chooseStatistics(
  graph: Graph,
  { freezeStatistics, lr, batch }: Pick<TrainingOptions, "freezeStatistics" | "lr" | "batch">,
  steps: number,
): ChosenStatistics {
  if (freezeStatistics !== "auto") return { freezeStatistics };
  if (runningStatistics(graph).length === 0) return { freezeStatistics: 1 };
  if (steps < shortRun && lr <= mostRate * batch)
    return {
      freezeStatistics: 0,
      note: `Batch normalization keeps the model's statistics, as training takes ${steps} steps, fewer than ${shortRun} (--freeze-statistics 1: those of the batches).`,
    };
  const why =
    steps < shortRun ? `the learning rate of ${lr} is large for batches of ${batch}` : `training takes ${steps} steps`;
  return {
    freezeStatistics: 1,
    note: `Batch normalization trains with the statistics of the batches, as ${why} (--freeze-statistics 0: those of the model).`,
  };
}
