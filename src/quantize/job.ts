// What one run is given.
import type { Source } from "../data/dataset.ts";
import type { Preprocess } from "../data/preprocess.ts";
import type { OpenDeployed } from "../export/verify.ts";
import type { OnnxModel } from "../ir/graph.ts";
import type { CheckpointOptions } from "../training/loop.ts";
import type { RunOptions } from "./options.ts";

export interface QuantizeJob {
  readonly model: OnnxModel;
  readonly source: Source;
  readonly preprocess: Preprocess;
  readonly options: RunOptions;
  /** Methods that train after the one that `options` name; of their options only those of training count. */
  readonly later?: readonly RunOptions[];
  readonly openDeployed: OpenDeployed;
  readonly checkpoints?: CheckpointOptions;
}
