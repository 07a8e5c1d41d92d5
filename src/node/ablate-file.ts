// An ablation from file to files: a folder for each cell, and what all of them come to.
import { basename, join } from "node:path";
import type { AblationPlan, Cell } from "../ablate/plan.ts";
import { summarize } from "../ablate/summarize.ts";
import type { Source } from "../data/dataset.ts";
import type { Preprocess } from "../data/preprocess.ts";
import type { Engine, Precision, Tuning } from "../engines/engine.ts";
import type { OwnMetric } from "../evaluate/own-metric.ts";
import { FrostbitError } from "../ir/errors.ts";
import type { OnnxModel } from "../ir/graph.ts";
import type { RunOptions } from "../options/run-options.ts";
import type { Ablation } from "../report/ablation.ts";
import type { Progress } from "../run/context.ts";
import { lockFolder } from "./lock-folder.ts";
import { ensureWritable, writeAtomic } from "./storage.ts";
import { computeUnit } from "./sweep/compute-unit.ts";
import { type Unit, unitsOf } from "./sweep/unit.ts";
import { folderStore } from "./sweep/unit-folder.ts";
import {
  isFinished,
  isStopped,
  removeUnit,
  type UnitResult,
  type UnitStore,
  unitFolder,
  workFolder,
} from "./sweep/unit-store.ts";
import { versions } from "./versions.ts";

/** What `ablateFile` is told. */
export interface AblateFileJob {
  readonly plan: AblationPlan;
  readonly title: string;
  readonly modelPath: string;
  readonly model: OnnxModel;
  /** By seed, which decides what is held out where the data has no test split. */
  readonly openSource: (seed: number) => Promise<Source>;
  readonly preprocess: Preprocess;
  /** What the outputs are worth, instead of what the labels choose. */
  readonly metric?: OwnMetric;
  /** Makes the engine that a cell runs on. */
  readonly engineFor: (options: RunOptions) => Engine;
  readonly out: string;
  readonly threads?: number;
  readonly precision?: Precision;
  /** As `quantizeFile` takes it. */
  readonly tune?: Tuning;
  /** Whether cells that were stopped go on from their checkpoints. */
  readonly resume: boolean;
  /** Whether cells that are there are run again. */
  readonly overwrite: boolean;
  readonly signal?: AbortSignal;
  /** How far the run of a cell is; cells count from 0. */
  readonly onProgress?: (cell: number, progress: Progress) => void;
  /** What a user should know, in sentences. */
  readonly onNote?: (note: string) => void;
  /** After each cell, how many are done. */
  readonly onCell?: (done: number, cell: Cell, ablation: Ablation) => void;
}

/**
 * Runs the cells one after the other, but those that are done: each is a unit, which its model, data, options, seed and versions tell
 * from others. `ablation.json` and `ablation.html` in `out` are of what there is, also after each cell. What fails is recorded, and the
 * next cell runs.
 *
 * Throws BAD_OPTION where a cell was stopped and `resume` is not given, or another run writes to `out`, IO, and ABORTED after `signal`.
 */
export async function ablateFile(job: AblateFileJob): Promise<Ablation> {
  if (job.overwrite && job.resume)
    throw new FrostbitError(
      "BAD_OPTION",
      "--resume continues the ablation in --out, --overwrite replaces it. Give only one of them.",
    );
  await ensureWritable(job.out);
  const lock = await lockFolder(job.out);
  try {
    return await ablateLocked(job);
  } finally {
    await lock.release();
  }
}

interface PlannedCell {
  readonly cell: Cell;
  readonly unit: Unit;
}

async function ablateLocked(job: AblateFileJob): Promise<Ablation> {
  const { out, overwrite } = job;
  const store = folderStore(out);
  const make = unitsOf(job);
  const cells: PlannedCell[] = [];
  const precision = job.precision === undefined ? {} : { precision: job.precision };
  for (const cell of job.plan.cells) {
    const { options } = cell;
    cells.push({ cell, unit: await make({ options, engine: job.engineFor(options), ...precision }) });
  }
  const results = new Map<Cell, UnitResult>();
  for (const { cell, unit } of cells) {
    const found = overwrite ? undefined : await store.resultOf(unit.id);
    if (found) results.set(cell, found);
    else await checkNotStopped(job, store, unit.id);
  }
  const folders = new Map(cells.map(({ cell, unit }) => [cell, unitFolder(unit.id)]));
  const { renderAblation } = await import("../report/render-ablation.ts");
  const write = async (): Promise<Ablation> => {
    const ablation = summarize(job.plan, results, (cell) => folders.get(cell) ?? "", factsOf(job, cells));
    await writeAtomic(join(out, "ablation.json"), `${JSON.stringify(ablation, null, 1)}\n`);
    await writeAtomic(join(out, "ablation.html"), renderAblation(ablation));
    return ablation;
  };
  // What failed runs again.
  const left = cells.filter(({ cell }) => !isFinished(results.get(cell)));
  const noted = new Set<string>();
  let ablation = await write();
  for (const [done, { cell, unit }] of left.entries()) {
    const index = cells.findIndex((other) => other.cell === cell);
    if (overwrite) await removeUnit(store, unit.id);
    const result = await computeUnit(unit, store, {
      ...(job.signal && { signal: job.signal }),
      onProgress: (progress) => job.onProgress?.(index, progress),
      onNote: (note) => {
        if (!noted.has(note)) job.onNote?.(`run ${index + 1}: ${note}`);
        noted.add(note);
      },
    });
    if ("error" in result) await store.recordFailure(unit.id, result.error);
    results.set(cell, result);
    ablation = await write();
    job.onCell?.(cells.length - left.length + done + 1, cell, ablation);
  }
  return ablation;
}

/** Throws BAD_OPTION where the run of a cell was stopped, unless it goes on or starts again. */
async function checkNotStopped({ resume, overwrite }: AblateFileJob, store: UnitStore, id: string): Promise<void> {
  if (resume || overwrite || !(await isStopped(store, id))) return;
  throw new FrostbitError(
    "BAD_OPTION",
    `"${workFolder(store, id)}" holds a run that was stopped. Continue with --resume, or start again with --overwrite.`,
  );
}

const factsOf = ({ title, modelPath, precision }: AblateFileJob, cells: readonly PlannedCell[]) => ({
  title,
  createdAt: new Date().toISOString(),
  model: basename(modelPath),
  data: cells[0].unit.job.source.train.name,
  isText: cells[0].unit.job.source.test.isText ?? false,
  engine: [
    ...new Set(cells.map(({ unit }) => unit.job.engine.name)),
    ...(precision === undefined ? [] : [precision]),
  ].join(", "),
  versions: versions(),
});
