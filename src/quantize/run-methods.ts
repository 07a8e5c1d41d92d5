// The walk over a run's methods: each goes on from what the one before it gave.
import { prefixedStorage } from "../data/storage.ts";
import type { Graph } from "../ir/graph.ts";
import { methodOf } from "../methods/index.ts";
import type {
  Findings,
  MethodData,
  MethodJob,
  MethodModel,
  MethodResult,
  MethodStep,
  Scales,
  TrainingRecord,
} from "../methods/method.ts";
import { resumes, trains } from "../options/run-options.ts";
import type { Context } from "../run/context.ts";
import type { CheckpointOptions } from "../training/checkpoint.ts";

export interface Walk {
  /** Those to run now, of `all`. */
  readonly steps: readonly MethodStep[];
  readonly all: readonly MethodStep[];
  readonly data: MethodData;
  readonly fileBytes: (graph: Graph) => number;
  readonly timeFiles: MethodJob<unknown>["timeFiles"];
  readonly loadSolver: MethodJob<unknown>["loadSolver"];
  readonly checkpoints: CheckpointOptions | undefined;
  /** What runs on the same model and data have found first, before calibration: the first of them does it. */
  readonly known?: KnownResults;
}

/** By step and what it starts from. */
export type KnownResults = Map<string, MethodResult>;

export interface Walked {
  readonly model: MethodModel;
  /** Of all methods together; absent where nothing trained. */
  readonly training: TrainingRecord | undefined;
  /** What the methods promise of the file. */
  readonly fileChecks: readonly NonNullable<MethodResult["checkFile"]>[];
  readonly latencyChecks: readonly NonNullable<MethodResult["checkLatency"]>[];
  readonly findings: Findings;
}

/** Of two methods, or walks. */
export const withFindings = (first: Findings, second: Findings = {}): Findings => ({
  ...first,
  ...second,
  ...(first.units && second.units ? { units: [...first.units, ...second.units] } : {}),
});

/** The methods before the first that trains, and those from it on. */
export function splitAtTraining(steps: readonly MethodStep[]): readonly [MethodStep[], MethodStep[]] {
  const first = steps.findIndex(trains);
  const at = first < 0 ? steps.length : first;
  return [steps.slice(0, at), steps.slice(at)];
}

/** Each method that resumes has its own checkpoints: after resuming, finished methods do no step. */
export async function runMethods(start: MethodModel, walk: Walk, context: Context): Promise<Walked> {
  let walked: Walked = { model: start, training: undefined, fileChecks: [], latencyChecks: [], findings: {} };
  const resuming = walk.all.filter(resumes);
  for (const step of walk.steps) {
    const checkpoints = resumes(step) ? checkpointsOf(walk.checkpoints, resuming.indexOf(step)) : undefined;
    const job = {
      model: walked.model,
      data: walk.data,
      fileBytes: walk.fileBytes,
      timeFiles: walk.timeFiles,
      loadSolver: walk.loadSolver,
      options: step.options,
      scales: scalesAfter(step, walk.all),
      isRounded: walk.all.slice(0, walk.all.indexOf(step)).some((before) => methodOf(before).phase === "rounding"),
      ...(checkpoints ? { checkpoints } : {}),
    };
    const run = (): Promise<MethodResult> => methodOf(step).run(job, context);
    const result = await (walk.known && step === walk.all[0] ? knownOr(walk.known, { step, start }, run) : run());
    walked = {
      model: result.model,
      training: joined(walked.training, result.training),
      fileChecks: [...walked.fileChecks, ...(result.checkFile ? [result.checkFile] : [])],
      latencyChecks: [...walked.latencyChecks, ...(result.checkLatency ? [result.checkLatency] : [])],
      findings: withFindings(walked.findings, result.findings),
    };
  }
  return walked;
}

async function knownOr(
  known: KnownResults,
  { step, start }: { readonly step: MethodStep; readonly start: MethodModel },
  run: () => Promise<MethodResult>,
): Promise<MethodResult> {
  if (methodOf(step).phase !== "before-calibration") return run();
  const key = JSON.stringify([step, start.quantize]);
  const result = known.get(key) ?? (await run());
  known.set(key, result);
  return result;
}

/** What the next method that trains starts from. */
function scalesAfter(step: MethodStep, steps: readonly MethodStep[]): Scales {
  const next = steps.slice(steps.indexOf(step) + 1).find(trains);
  const training = next ? methodOf(next).training : "none";
  return next && training !== "none" ? training.scales(next.options) : "any";
}

/** The files of the methods after the first are told apart by a prefix. */
function checkpointsOf(checkpoints: CheckpointOptions | undefined, index: number): CheckpointOptions | undefined {
  if (!checkpoints || index === 0) return checkpoints;
  return { ...checkpoints, storage: prefixedStorage(checkpoints.storage, `method-${index + 1}-`) };
}

function joined(first: TrainingRecord | undefined, second: TrainingRecord | undefined): TrainingRecord | undefined {
  if (!first || !second) return first ?? second;
  const steps = new Map(first.trainedSteps);
  for (const [weight, counts] of second.trainedSteps)
    steps.set(
      weight,
      counts.map((count, row) => count + (first.trainedSteps.get(weight)?.[row] ?? 0)),
    );
  const seen = first.samples.at(-1) ?? 0;
  const undone = [first, second].flatMap((training) => training.undone ?? []).join(" ");
  const trial = [first, second].flatMap((training) => training.trial ?? []);
  return {
    ...(undone === "" ? {} : { undone }),
    ...(trial.length === 0 ? {} : { trial }),
    losses: [...first.losses, ...second.losses],
    trainedSteps: steps,
    stepSeconds: [...first.stepSeconds, ...second.stepSeconds],
    learningRates: [...first.learningRates, ...second.learningRates],
    samples: [...first.samples, ...second.samples.map((count) => seen + count)],
  };
}
