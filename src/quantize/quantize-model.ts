// The whole run: the walk over its methods, then fold, export, verify; measured on the way.
import type { Fidelity } from "../evaluate/fidelity.ts";
import type { Stage } from "../evaluate/stages.ts";
import { checkNames } from "../ir/check-options.ts";
import type { Graph } from "../ir/graph.ts";
import { methodOf } from "../methods/index.ts";
import type { MethodModel, TrainingRecord } from "../methods/method.ts";
import { checkRun, unusedInRecipe } from "../options/recipe.ts";
import { stagesOf } from "../options/run-options.ts";
import type { Context } from "../run/context.ts";
import { checkCheckpoint } from "../training/checkpoint.ts";
import { type Clock, createClock } from "./clock.ts";
import { withEvenChannels } from "./even-channels.ts";
import { sizeOfFiles, verifyModel, type Written, whatWasWritten, writeModel } from "./export-model.ts";
import type { QuantizeJob } from "./job.ts";
import {
  fidelityOf,
  type Measured,
  measureDeployed,
  measureEachLayer,
  metricsOf,
  noteHints,
  type StageMetrics,
  takeBatches,
} from "./measure-run.ts";
import type { QuantizeOutcome } from "./outcome.ts";
import { runMethods, splitAtTraining, type Walked } from "./run-methods.ts";
import { noteUnusedLabels, openSubject, type Subject } from "./subject.ts";
import { trainingNote } from "./training-note.ts";

const verificationSamples = 256;

const fields = [
  "model",
  "source",
  "preprocess",
  "options",
  "openDeployed",
  "checkpoints",
] satisfies (keyof QuantizeJob)[];

/**
 * A whole run in memory: calibrates, quantizes, trains, exports and verifies. It writes no file but the checkpoints that the job
 * asks for. Throws as `quantizeFile` does: VERIFICATION if the exported file does not do in the runtime what was trained.
 */
export async function quantizeModel(job: QuantizeJob, given: Context): Promise<QuantizeOutcome> {
  checkNames("quantizeModel", job, fields);
  checkRun(job.options);
  for (const text of unusedInRecipe(job.options)) given.onNote?.(text);
  const context = { ...given, seed: job.options.seed };
  const subject = withEvenChannels(openSubject(job), job.options, context);
  await checkEarly(job, subject);
  noteUnusedLabels(subject, context);
  const run = { job, subject, context, clock: createClock(), measured: new Map<Stage, StageMetrics>() };
  const float = await measureStage(run, "float", subject.float);
  noteHints(run, float?.metrics);
  const quantized = await makeModel(run);
  return finish(run, quantized);
}

/** A run, and what it has measured so far. */
interface Run extends Measured {
  readonly clock: Clock;
  /** Of the stages measured. */
  readonly measured: Map<Stage, StageMetrics>;
}

/** What can be known to be wrong before anything is computed. */
async function checkEarly({ options, preprocess, checkpoints }: QuantizeJob, subject: Subject): Promise<void> {
  const data = { train: subject.train, preprocess };
  for (const step of options.methods) methodOf(step).check(subject.start, data, step.options);
  if (checkpoints?.resume) await checkCheckpoint(checkpoints.storage, checkpoints.fingerprint);
}

/** Stages between the float model and the file are measured with `accuracies` "all" alone. */
async function measureStage(run: Run, stage: Stage, graph: Graph | undefined): Promise<StageMetrics | undefined> {
  const isLeftOut = stage !== "float" && run.job.options.accuracies !== "all";
  if (!graph || isLeftOut || !stagesOf(run.job.options).includes(stage)) return undefined;
  const metrics = await run.clock.time("evaluation", () => metricsOf(run, stage, graph));
  if (metrics) run.measured.set(stage, metrics);
  return metrics;
}

interface Made {
  /** As the methods before training left it. */
  readonly start: Graph;
  readonly model: MethodModel;
  readonly training: TrainingRecord | undefined;
  readonly fileChecks: Walked["fileChecks"];
}

async function makeModel(run: Run): Promise<Made> {
  const { job, subject, context, clock } = run;
  const [before, after] = splitAtTraining(job.options.methods);
  const walk = {
    all: job.options.methods,
    data: { train: subject.train, preprocess: job.preprocess },
    fileBytes: (graph: Graph) => sizeOfFiles(writeModel(job.model, graph, job.options)),
    checkpoints: job.checkpoints,
  };
  const calibrated = await clock.time("calibration", () =>
    runMethods(subject.start, { ...walk, steps: before }, context),
  );
  // What cannot be written fails before it is trained.
  writeModel(job.model, calibrated.model.graph, job.options);
  await measureStage(run, "ptq", calibrated.model.graph);
  const { model, training, fileChecks } = await clock.time("training", () =>
    runMethods(calibrated.model, { ...walk, steps: after }, context),
  );
  await measureStage(run, "trained", model.graph);
  return { start: calibrated.model.graph, model, training, fileChecks: [...calibrated.fileChecks, ...fileChecks] };
}

/** Exports, verifies and measures what was made. */
async function finish(run: Run, { start, model, training, fileChecks }: Made): Promise<QuantizeOutcome> {
  const { job, subject, context, clock, measured } = run;
  const { float, train, test } = subject;
  const scores = subject.scores?.output;
  const trained = model.graph;
  const written = writeModel(job.model, trained, job.options);
  for (const check of fileChecks) check(whatWasWritten(written));
  const folded = written.quantized?.folded;
  const { bytes } = written.files[0];
  const samples = await takeBatches(run, verificationSamples);
  const verification = await clock.time("evaluation", () =>
    verifyModel(written, job, { trained, scores, samples }, context),
  );
  await measureStage(run, "quantized", folded?.graph);
  const { deployed, latencyMs } = await clock.time("evaluation", () => measureDeployed(run, bytes));
  // Quantizers that came with the file are not part of the float model.
  const compared = model.float === subject.start.graph ? float : model.float;
  const layers = await clock.time("evaluation", () =>
    measureEachLayer(run, { float: compared, trained, folded }, samples),
  );
  const fidelity = await clock.time("evaluation", () => measureFidelity(run, { start, trained, written }));
  const metrics = new Map([...measured].map(([stage, of]) => [stage, of.metrics] as const));
  if (deployed) metrics.set("deployed", deployed);
  return {
    bytes,
    files: written.files,
    trained,
    top1: topOf(metrics),
    metrics,
    trainingNote: trainingNote(
      { metrics: measured.get("ptq"), fidelity: fidelity?.get("ptq") },
      { metrics: measured.get("trained"), fidelity: fidelity?.get("trained") },
    ),
    fidelity,
    scores,
    training,
    verification,
    ...layers,
    latencyMs,
    seconds: clock.seconds,
    trainSamples: train.length,
    testSamples: test.length,
  };
}

/** Where no accuracy can be measured; beside errors against measured values. */
async function measureFidelity(
  run: Run,
  { start, trained, written }: { readonly start: Graph; readonly trained: Graph; readonly written: Written },
): Promise<Fidelity | undefined> {
  if (run.subject.labels.kind === "classes") return undefined;
  const { options } = run.job;
  const graphs = { ptq: start, trained, quantized: written.quantized?.folded.graph };
  const measured = new Map<Stage, Graph>();
  if (options.accuracies === "all")
    for (const stage of stagesOf(options)) {
      const graph = stage === "float" || stage === "deployed" ? undefined : graphs[stage];
      if (graph) measured.set(stage, graph);
    }
  return fidelityOf(run, measured, written.files[0].bytes);
}

const topOf = (metrics: QuantizeOutcome["metrics"]): QuantizeOutcome["top1"] => ({
  float: metrics.get("float")?.top1 ?? null,
  ptq: metrics.get("ptq")?.top1 ?? null,
  trained: metrics.get("trained")?.top1 ?? null,
  quantized: metrics.get("quantized")?.top1 ?? null,
  deployed: metrics.get("deployed")?.top1 ?? null,
});
