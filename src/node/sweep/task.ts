// A unit as it is handed to another process or machine.

import type { Precision } from "../../engines/engine.ts";
import type { EngineName } from "../../engines/select.ts";
import type { Fields } from "../../methods/method.ts";
import type { RunFields } from "../claim-out.ts";
import type { ComputeOptions } from "./compute-unit.ts";
import type { UnitError } from "./unit-store.ts";

/** Plain data: a queue carries it as JSON, and no tensors. */
export interface UnitTask {
  readonly id: string;
  /** What the id is a digest of: where another machine's differ, its model, data or version is another. */
  readonly fields: RunFields;
  /** For messages. */
  readonly name: string;
  /** The folder that the paths start from. */
  readonly cwd: string;
  /** The address of the sweep's store. */
  readonly out: string;
  readonly model: string;
  /** Data, preprocessing and metric, as the command's options are called. */
  readonly given: Fields;
  readonly engine: EngineName;
  readonly precision: Precision;
  readonly recipe: Fields;
}

/** What became of it; `null`: it is finished. */
export type TaskOutcome = UnitError | null;

/** Computes units, wherever it does. */
export type ComputeTask = (task: UnitTask, options: ComputeOptions) => Promise<TaskOutcome>;
