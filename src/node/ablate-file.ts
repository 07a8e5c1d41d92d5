// An ablation from file to files: a folder for each cell, and what all of them come to.
import { createHash } from "node:crypto";
import { readFile, rm } from "node:fs/promises";
import { basename, join } from "node:path";
import { z } from "zod";
import type { AblationPlan, Cell } from "../ablate/plan.ts";
import { type CellResult, summarize } from "../ablate/summarize.ts";
import type { Source } from "../data/dataset.ts";
import type { Preprocess } from "../data/preprocess.ts";
import type { Engine, Precision } from "../engines/engine.ts";
import type { OwnMetric } from "../evaluate/own-metric.ts";
import { FrostbitError } from "../ir/errors.ts";
import type { OnnxModel } from "../ir/graph.ts";
import type { RunOptions } from "../options/run-options.ts";
import type { Ablation } from "../report/ablation.ts";
import { reportSchema } from "../report/report.ts";
import type { Progress } from "../run/context.ts";
import { differences, type RunFields } from "./claim-out.ts";
import { digestOfSource } from "./digest-data.ts";
import { lockFolder } from "./lock-folder.ts";
import { identityOf, type QuantizeFileJob, quantizeFileSharing, type SharedByRuns } from "./quantize-file.ts";
import { codeOf, ensureFolder, ensureWritable, folderStorage, ioError, writeAtomic } from "./storage.ts";
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

/** What becomes of a cell beside the files of its run. */
const stateSchema = z.object({
  fields: z.record(z.string(), z.string()).describe("What tells it from other runs."),
  error: z.object({ code: z.string(), message: z.string() }).nullable().describe("null: it is done."),
});
type CellState = z.infer<typeof stateSchema>;

const stateFile = "cell.json";

/** In words that every file system takes, told apart by a digest of the whole. */
function folderOf({ setting, seed }: Cell): string {
  const name = `${setting.name}, seed ${seed}`;
  const digest = createHash("sha256").update(name).digest("hex").slice(0, 8);
  const words = name.replace(/[^A-Za-z0-9.=]+/g, "-").slice(0, 60);
  return `cells/${words.replace(/^[.-]+|[.-]+$/g, "")}-${digest}`;
}

/**
 * Runs the cells one after the other, but those that are done. `ablation.json` and `ablation.html` in `out` are of what there is, also
 * after each cell. What fails is recorded, and the next cell runs.
 *
 * Throws BAD_OPTION where `out` holds cells of another model, other data or another version, or one that was stopped, IO, and ABORTED
 * after `signal`.
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

/** A cell, and all that its run is given. */
interface PlannedCell {
  readonly cell: Cell;
  readonly folder: string;
  readonly run: QuantizeFileJob;
  readonly shared: SharedByRuns;
  readonly fields: RunFields;
}

async function ablateLocked(job: AblateFileJob): Promise<Ablation> {
  const cells = await plannedCells(job);
  const results = new Map<string, CellResult>();
  for (const cell of cells) {
    const found = await resultOf(cell, job);
    if (found) results.set(cell.folder, found);
  }
  const { renderAblation } = await import("../report/render-ablation.ts");
  const write = async (): Promise<Ablation> => {
    const ablation = summarize(job.plan, results, folderOf, factsOf(job, cells));
    await writeAtomic(join(job.out, "ablation.json"), `${JSON.stringify(ablation, null, 1)}\n`);
    await writeAtomic(join(job.out, "ablation.html"), renderAblation(ablation));
    return ablation;
  };
  const left = cells.filter(({ folder }) => !isDone(results.get(folder)));
  let ablation = await write();
  for (const [index, cell] of left.entries()) {
    results.set(cell.folder, await runCell(cell, job, results.get(cell.folder)));
    ablation = await write();
    job.onCell?.(cells.length - left.length + index + 1, cell.cell, ablation);
  }
  return ablation;
}

/** What failed runs again. */
const isDone = (result: CellResult | undefined): boolean => result !== undefined && "report" in result;

/** Runs of the same samples share what is found of the data and of the float model. */
async function plannedCells(job: AblateFileJob): Promise<readonly PlannedCell[]> {
  const { plan, modelPath, model, preprocess, metric, threads, precision, signal, out } = job;
  const sources = new Map<number, Source>();
  const sharing = new Map<string, SharedByRuns>();
  const cells: PlannedCell[] = [];
  const notes = new Set<string>();
  for (const cell of plan.cells) {
    const source = sources.get(cell.seed) ?? (await sourceFor(job, cell.seed, sources));
    const { limit, quantize } = cell.options;
    const key = JSON.stringify([source.heldOut ? cell.seed : null, limit ?? null, quantize.outputs ?? null]);
    const shared = sharing.get(key) ?? { digest: await digestOfSource(source, limit) };
    sharing.set(key, shared);
    const folder = folderOf(cell);
    const index = cells.length;
    const run: QuantizeFileJob = {
      modelPath,
      model,
      source,
      preprocess,
      ...(metric && { metric }),
      options: cell.options,
      out: join(out, folder),
      engine: job.engineFor(cell.options),
      ...(threads === undefined ? {} : { threads }),
      ...(precision === undefined ? {} : { precision }),
      ...(signal ? { signal } : {}),
      onProgress: (progress) => job.onProgress?.(index, progress),
      onNote: (note) => {
        if (!notes.has(note)) job.onNote?.(`run ${index + 1}: ${note}`);
        notes.add(note);
      },
    };
    const { fields } = await identityOf(run, shared);
    cells.push({ cell, folder, run, shared, fields: { ...fields, samples: JSON.stringify(shared.digest) } });
  }
  return cells;
}

/** Data with a test split is the same for every seed. */
async function sourceFor(job: AblateFileJob, seed: number, sources: Map<number, Source>): Promise<Source> {
  const [known] = sources.values();
  const source = known && !known.heldOut ? known : await job.openSource(seed);
  sources.set(seed, source);
  return source;
}

/** Of a cell that ended; throws BAD_OPTION where what is there must not be lost, unless it is to be replaced. */
async function resultOf(
  { folder, fields }: PlannedCell,
  { out, resume, overwrite }: AblateFileJob,
): Promise<CellResult | undefined> {
  if (overwrite) return undefined;
  const place = join(out, folder);
  const state = await readState(place);
  if (!state) {
    if (!resume && (await folderStorage(join(place, "checkpoint")).list()).length > 0)
      throw new FrostbitError(
        "BAD_OPTION",
        `"${place}" holds a run that was stopped. Continue with --resume, or start again with --overwrite.`,
      );
    return undefined;
  }
  const differing = differences(state.fields, fields);
  if (differing.length > 0)
    throw new FrostbitError(
      "BAD_OPTION",
      `"${place}" holds another run: ${differing.slice(0, 5).join(", ")}${differing.length > 5 ? ", …" : ""}. Choose another --out folder, or replace it with --overwrite.`,
    );
  if (state.error) return { error: state.error };
  const report = await readText(join(place, "report.json"));
  return report === undefined ? undefined : { report: reportSchema.parse(JSON.parse(report)) };
}

async function readText(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, "utf8");
  } catch (cause) {
    if (codeOf(cause) === "ENOENT") return undefined;
    throw ioError("read", path, cause);
  }
}

/** `undefined` where no cell ended there. */
async function readState(folder: string): Promise<CellState | undefined> {
  const text = await readText(join(folder, stateFile));
  return text === undefined ? undefined : stateSchema.parse(JSON.parse(text));
}

/** `before`: what became of it last time. A run that failed starts again. */
async function runCell(
  { folder, run, shared, fields }: PlannedCell,
  { out, overwrite, resume }: AblateFileJob,
  before: CellResult | undefined,
): Promise<CellResult> {
  const state = join(out, folder, stateFile);
  const keep = (error: CellState["error"]): Promise<void> =>
    writeAtomic(state, `${JSON.stringify({ fields, error } satisfies CellState, null, 1)}\n`);
  await rm(state, { force: true });
  const isNew = overwrite || before !== undefined;
  try {
    const { report } = await quantizeFileSharing({ ...run, overwrite: isNew, resume: resume && !isNew }, shared);
    await keep(null);
    return { report };
  } catch (cause) {
    if (cause instanceof FrostbitError && cause.code === "ABORTED") throw cause;
    const message = cause instanceof Error ? cause.message : String(cause);
    const error = { code: cause instanceof FrostbitError ? cause.code : "INTERNAL", message };
    await ensureFolder(join(out, folder));
    await keep(error);
    return { error };
  }
}

const factsOf = ({ title, modelPath, precision }: AblateFileJob, cells: readonly PlannedCell[]) => ({
  title,
  createdAt: new Date().toISOString(),
  model: basename(modelPath),
  data: cells[0].run.source.train.name,
  isText: cells[0].run.source.test.isText ?? false,
  engine: [...new Set(cells.map(({ run }) => run.engine.name)), ...(precision === undefined ? [] : [precision])].join(
    ", ",
  ),
  versions: versions(),
});
