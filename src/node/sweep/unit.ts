// A unit of a sweep: one run, told from all others by a digest of what decides its result.
import { createHash } from "node:crypto";
import type { Source } from "../../data/dataset.ts";
import type { Preprocess } from "../../data/preprocess.ts";
import type { Engine, Precision, Tuning } from "../../engines/engine.ts";
import type { OwnMetric } from "../../evaluate/own-metric.ts";
import type { OnnxModel } from "../../ir/graph.ts";
import type { RunOptions } from "../../options/run-options.ts";
import type { RunFields } from "../claim-out.ts";
import { digestOfSource, machineFields } from "../digest-data.ts";
import { digestOfModel } from "../digest-model.ts";
import { identityOf, type PlacelessJob, type SharedByRuns } from "../quantize-file.ts";

/** What the units of one model are given beside their options. */
export interface UnitSource {
  readonly modelPath: string;
  readonly model: OnnxModel;
  /** By seed, which decides what is held out where the data has no test split. */
  readonly openSource: (seed: number) => Promise<Source>;
  readonly preprocess: Preprocess;
  readonly threads?: number;
  readonly tune?: Tuning;
  readonly metric?: OwnMetric;
}

/** What one unit is given besides. */
export interface UnitChoice {
  readonly options: RunOptions;
  readonly engine: Engine;
  readonly precision?: Precision;
}

export interface Unit {
  /** Of model, data, options, seed and versions: the same on every machine. Names the unit's folder, and its job in a queue. */
  readonly id: string;
  /** What the id is a digest of. */
  readonly fields: RunFields;
  readonly job: PlacelessJob;
  /** What is found once for all units of the same samples. */
  readonly shared: SharedByRuns;
}

const idLength = 16;

/** Makes the units of a model, which share what they find of it and of its data. */
export function unitsOf(given: UnitSource): (choice: UnitChoice) => Promise<Unit> {
  const sources = new Map<number, Source>();
  const sharing = new Map<string, SharedByRuns>();
  const input = digestOfModel(given.modelPath);
  /** Data with a test split is the same for every seed. */
  const sourceFor = async (seed: number): Promise<Source> => {
    const [known] = sources.values();
    const source = sources.get(seed) ?? (known && !known.heldOut ? known : await given.openSource(seed));
    sources.set(seed, source);
    return source;
  };
  return async ({ options, engine, precision }) => {
    const { seed, limit, quantize } = options;
    const source = await sourceFor(seed);
    const key = JSON.stringify([source.heldOut ? seed : null, limit ?? null, quantize.outputs ?? null]);
    const shared = sharing.get(key) ?? { input, digest: await digestOfSource(source, limit) };
    sharing.set(key, shared);
    const { modelPath, model, preprocess, threads, tune, metric } = given;
    const job = {
      modelPath,
      model,
      source,
      preprocess,
      options,
      engine,
      ...(precision === undefined ? {} : { precision }),
      ...(threads === undefined ? {} : { threads }),
      ...(tune === undefined ? {} : { tune }),
      ...(metric && { metric }),
    };
    const fields = await fieldsOf(job, shared);
    return { id: idOf(fields), fields, job, shared };
  };
}

/** The machine is left out: a unit that another one computes is the same unit. */
async function fieldsOf(job: PlacelessJob, shared: SharedByRuns): Promise<RunFields> {
  const { fields } = await identityOf(job, shared);
  const ofMachine = new Set(Object.keys(machineFields({ engine: job.engine, threads: job.threads, tune: "off" })));
  const entries = Object.entries({
    ...fields,
    samples: JSON.stringify(shared.digest),
    accuracies: job.options.accuracies ?? "by methods",
  });
  return Object.fromEntries(entries.filter(([name]) => !ofMachine.has(name)));
}

const idOf = (fields: RunFields): string =>
  createHash("sha256")
    .update(JSON.stringify(Object.entries(fields).toSorted(([a], [b]) => (a < b ? -1 : 1))))
    .digest("hex")
    .slice(0, idLength);
