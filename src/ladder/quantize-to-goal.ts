// A run that is told what is wanted: rungs are tried on samples held out of the training data, and the best file is measured once.
import { limit, type Source } from "../data/dataset.ts";
import { holdOut } from "../data/split.ts";
import { prefixedStorage } from "../data/storage.ts";
import { affordableSamples, oneSample } from "../evaluate/batch-that-fits.ts";
import type { Measurement } from "../evaluate/metrics.ts";
import { noNumberHint } from "../evaluate/own-metric.ts";
import { modelIn } from "../export/format.ts";
import { FrostbitError } from "../ir/errors.ts";
import type { Goal } from "../options/goal.ts";
import { recipeOf, runFromRecipe } from "../options/recipe.ts";
import type { RunOptions } from "../options/run-options.ts";
import { sizeOfFiles, type Written } from "../quantize/export-model.ts";
import type { FormattedJob } from "../quantize/job.ts";
import {
  fidelityOf,
  measureDeployed,
  measureEachLayer,
  measureLatencies,
  takeBatches,
} from "../quantize/measure-run.ts";
import type { QuantizeOutcome } from "../quantize/outcome.ts";
import {
  finish,
  type Made,
  makeModel,
  measureFloat,
  openRun,
  type Run,
  type SharedMeasures,
  writeMade,
} from "../quantize/quantize-model.ts";
import type { KnownResults } from "../quantize/run-methods.ts";
import { forTest, type Subject } from "../quantize/subject.ts";
import { isDepthwise, linearLayers } from "../quantizers/linear-layers.ts";
import { matchesPattern } from "../quantizers/quantize-options.ts";
import { formatBytes } from "../report/format-bytes.ts";
import { printDrop } from "../report/print-drop.ts";
import type { Context } from "../run/context.ts";
import { isLarge } from "../run/with-few-runs.ts";
import { type Climbed, climb, type Trial } from "./climb.ts";
import { dropOf, noiseOf } from "./drop.ts";
import { besideFixed, type Rung, type TrainedLoss } from "./rungs.ts";
import { shareOf, slowLayers } from "./slow-layers.ts";

/** What a goal's run gives: the outcome of the rung that was chosen, and how it was found. */
export interface GoalOutcome {
  readonly outcome: QuantizeOutcome;
  /** Of the rung: a run of them gives the same file. */
  readonly options: RunOptions;
  readonly climbed: Omit<Climbed<Trial>, "chosen"> & { readonly chosen: Rung };
  /** What the choice was made on. */
  readonly validation: { readonly name: string; readonly samples: number };
}

interface Tried extends Trial {
  readonly run: Run;
  readonly made: Made;
  readonly written: Written;
}

/** Samples that choices are made on, at most; and their multiply-adds. */
const validation = { most: 5_000, least: 64, share: 0.1, operations: 5e11 } as const;

/** Training data that are too few to hold any out are measured on too. */
function withValidation({ model, source, options }: FormattedJob): Source {
  const train = limit(source.train, options.limit ?? Number.POSITIVE_INFINITY);
  const wanted = Math.max(validation.least, Math.min(validation.most, Math.round(validation.share * train.length)));
  const count = Math.min(
    affordableSamples(oneSample(model.graph), wanted, validation.operations),
    Math.floor(train.length / 2),
  );
  if (count < 8) return { ...source, train, test: train };
  const parts = holdOut(train, options.seed, count / train.length);
  return { ...source, ...parts };
}

/** Of the goal's run, that of a rung. */
function optionsOf({ goal, ...run }: RunOptions & { readonly goal: Goal }, rung: Rung): RunOptions {
  const { quantize, goal: _, ...whole } = recipeOf({ ...run, goal });
  const together = besideFixed(rung, quantize as Rung["quantize"]);
  return runFromRecipe({ ...whole, quantize: together, methods: rung.methods, accuracies: "deployed" }, rung.name);
}

/** What ends a rung, and not the run: its methods cannot be had for this model and data, or its file is not what was made. */
const endsRung: ReadonlySet<string> = new Set([
  "NO_GRADIENT",
  "BAD_MODEL",
  "BAD_DATA",
  "BAD_OPTION",
  "DIVERGED",
  "VERIFICATION",
]);

/** As `quantizeModel`; throws too where no rung gives a file. */
export async function quantizeToGoal(
  job: FormattedJob & { readonly options: RunOptions & { readonly goal: Goal } },
  context: Context,
  shared: SharedMeasures,
): Promise<GoalOutcome> {
  const { goal } = job.options;
  const source = withValidation(job);
  const started = performance.now();
  const elapsed = (): number => (performance.now() - started) / 1000;
  const first = await openRun({ ...job, source }, context);
  await measureFloat(first, {});
  // Absent where no labels fit.
  const float = first.measured.get("float");
  const noNumber = float && noNumberHint(float.metrics);
  if (noNumber !== undefined) throw new FrostbitError("BAD_DATA", `No goal can be judged. ${noNumber}`);
  const perSample = elapsed() / source.test.length;
  const quiet: Context = { ...context, onNote: () => {} };
  const { openGiven: _, checkMemory: __, ...checked } = job;
  const timed = new Map<Rung, QuantizeOutcome["latencyMs"]>();
  const known: KnownResults = new Map();
  let number = 0;

  /** What a method promised of the time is asked for before anything else is tried. */
  const checkTime = async ({ rung, run, made, written }: Omit<Tried, "drop" | "bytes">): Promise<void> => {
    if (made.latencyChecks.length === 0) return;
    const latencies = await measureLatencies(run, modelIn(written.files[0]));
    timed.set(rung, latencies);
    for (const check of made.latencyChecks)
      check({ float: latencies.float.batch1, deployed: latencies.deployed.batch1 });
  };
  const tryRung = async (rung: Rung): Promise<Tried | { readonly failed: string }> => {
    number += 1;
    context.onNote?.(`${number}. ${rung.name}`);
    try {
      const run = await openRun(jobOf({ ...checked, source }, rung, number), quiet);
      const made = await makeModel(run, known);
      const written = writeMade(run, made);
      const tried = { rung, run, made, written };
      await checkTime(tried);
      const measured = await measureTrial(run, written, float);
      context.onNote?.(`   lost ${printDrop(measured.drop)} of ${measured.drop.what}; ${formatBytes(measured.bytes)}`);
      return { ...tried, ...measured };
    } catch (error) {
      if (number === 1 || !(error instanceof FrostbitError) || !endsRung.has(error.code)) throw error;
      context.onNote?.(`   not possible: ${error.message}`);
      return { failed: error.message };
    }
  };

  const { graph } = first.subject.start;
  const layers = linearLayers(graph);
  const { chosen, ...climbed } = await climb<Tried>(goal, {
    tryRung,
    predict: (rung) => perSample * rung.passes(source.train.length, layers.length),
    elapsed,
    defaultDrop: defaultDropOf(float),
    loss: lossFor(first.subject),
    depthwise: layers.filter((layer) => isDepthwise(graph, layer)).map(({ name }) => name),
    sensitiveLayers: (trial) => layersBySensitivity(trial, Object.keys(job.options.quantize.layers)),
    timeOf: async (trial) => {
      const latencies = await measureLatencies(trial.run, modelIn(trial.written.files[0]));
      timed.set(trial.rung, latencies);
      return shareOf(latencies.float, latencies.deployed);
    },
    slowLayers: async ({ run }) => (isLarge(run.subject.float) ? [] : slowLayers(run)),
  });
  if (!chosen) throw noFile(climbed);
  const options = optionsOf(job.options, chosen.rung);
  const run = await openRun({ ...checked, options, source: { ...source, test: job.source.test } }, quiet);
  await measureFloat({ ...run, context }, shared);
  const { made, written } = chosen;
  const outcome = await finish({ ...run, context }, made, { written, latencyMs: timed.get(chosen.rung) });
  return {
    outcome,
    options,
    climbed: { ...climbed, chosen: chosen.rung },
    validation: { name: source.test.name, samples: source.test.length },
  };
}

/** Class indices are what EfQAT trains by; without labels it follows the float model. */
function lossFor({ labels, scores }: Subject): TrainedLoss {
  if (labels.kind === "classes") return "cross-entropy";
  return labels.kind === "none" && scores ? "distill" : "mse";
}

/** Half a point or per cent; a hundredth of a metric of one's own. */
function defaultDropOf(float: Measurement | undefined): number {
  const metric = float?.metrics.metric;
  return metric ? Math.abs(metric.value) / 100 : 0.5;
}

/** Each rung's training has checkpoints of its own. */
function jobOf(
  job: FormattedJob & { readonly options: RunOptions & { readonly goal: Goal } },
  rung: Rung,
  number: number,
): FormattedJob {
  const { checkpoints } = job;
  return {
    ...job,
    options: optionsOf(job.options, rung),
    ...(checkpoints && {
      checkpoints: { ...checkpoints, storage: prefixedStorage(checkpoints.storage, `rung-${number}-`) },
    }),
  };
}

async function measureTrial(
  run: Run,
  written: Written,
  float: Measurement | undefined,
): Promise<Pick<Trial, "drop" | "bytes">> {
  const file = modelIn(written.files[0]);
  const size = sizeOfFiles(written);
  const deployed = await measureDeployed(run, file);
  if (float && deployed) return { drop: dropOf(float, deployed), bytes: size };
  const fidelity = await fidelityOf(run, new Map(), file);
  return { drop: noiseOf(fidelity.get("deployed") ?? []), bytes: size };
}

/** The one first whose quantization alone leaves the outputs the least SQNR; those whose bits the run fixes are none of them. */
async function layersBySensitivity({ run, made }: Tried, fixed: readonly string[]): Promise<readonly string[]> {
  const [batch] = await takeBatches(run, validation.least);
  const trained = forTest(run.subject, made.model.graph);
  const float = forTest(run.subject, made.model.float);
  const { layerMeasures } = await measureEachLayer(run, { float, trained, folded: undefined }, batch);
  const rising = [...layerMeasures.sensitivityDb].toSorted(([, a], [, b]) => a - b).map(([name]) => name);
  return rising.filter((name) => !fixed.some((pattern) => matchesPattern(pattern, name)));
}

function noFile({ records }: Omit<Climbed<Trial>, "chosen">): FrostbitError {
  const failed = records.flatMap((record) =>
    record.outcome === "failed" ? [`${record.rung.name}: ${record.why}`] : [],
  );
  return new FrostbitError("BAD_OPTION", `Nothing that was tried gives a file. ${failed.join(" ")}`);
}
