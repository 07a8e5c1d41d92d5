// The whole run: the walk over its methods, then fold, export, verify; measured on the way.
import type { Fidelity } from "../evaluate/fidelity.ts";
import { lossAgainstLabels, lossOf } from "../evaluate/losses.ts";
import type { Measurement } from "../evaluate/metrics.ts";
import type { Stage } from "../evaluate/stages.ts";
import { modelIn } from "../export/format.ts";
import type { OpenedModel } from "../export/verify.ts";
import { checkNames } from "../ir/check-options.ts";
import { FrostbitError } from "../ir/errors.ts";
import type { Graph } from "../ir/graph.ts";
import type { Tensor } from "../ir/tensor.ts";
import { methodOf } from "../methods/index.ts";
import type { Findings, MethodModel, TrainingRecord } from "../methods/method.ts";
import { checkRun, unusedInRecipe } from "../options/recipe.ts";
import { isQuantized, measuresAllStages, type RunOptions, stagesOf } from "../options/run-options.ts";
import { withInputTypes } from "../passes/with-input-types.ts";
import type { Folded } from "../quantizers/fold.ts";
import { linearLayers } from "../quantizers/linear-layers.ts";
import { isQuantizer } from "../quantizers/quantizer.ts";
import { countAway } from "../rounding/count-away.ts";
import type { Context } from "../run/context.ts";
import { checkCheckpoint } from "../training/checkpoint.ts";
import { checkGiven } from "./check-given.ts";
import { type Clock, createClock } from "./clock.ts";
import { estimateMemory } from "./estimate-memory.ts";
import { withEvenChannels } from "./even-channels.ts";
import {
  othersOf,
  sizeOfFiles,
  verifyModel,
  type Written,
  whatWasWritten,
  withStoredScales,
  writeModel,
} from "./export-model.ts";
import type { FormattedJob, QuantizeJob } from "./job.ts";
import { layerForms } from "./layer-forms.ts";
import {
  fidelityOf,
  type Measured,
  measureDeployed,
  measureEachLayer,
  measureLatencies,
  metricsOf,
  noteHints,
  outputsAgainstFloat,
  takeBatches,
  verificationCount,
} from "./measure-run.ts";
import type { QuantizeOutcome } from "./outcome.ts";
import { placementNote } from "./placement-note.ts";
import { type KnownResults, runMethods, splitAtTraining, type Walked, withFindings } from "./run-methods.ts";
import { forTest, noteLabels, openSubject, type Subject } from "./subject.ts";
import { timeFiles } from "./time-files.ts";
import { trainingNote } from "./training-note.ts";

/** All of them: the compiler names what is forgotten. */
const fields = Object.keys({
  model: true,
  source: true,
  preprocess: true,
  metric: true,
  options: true,
  openDeployed: true,
  checkpoints: true,
  openGiven: true,
  loadSolver: true,
  checkMemory: true,
  format: true,
  keepFile: true,
} satisfies Record<keyof FormattedJob, true>);

/**
 * A whole run in memory: calibrates, quantizes, trains, exports and verifies. It writes no file but the checkpoints that the job
 * asks for. Throws as `quantizeFile` does: VERIFICATION if the exported file does not do in the runtime what was trained.
 */
export const quantizeModel = (job: QuantizeJob, context: Context): Promise<QuantizeOutcome> =>
  quantizeSharing(job, context, {});

/** What runs on the same model and data have in common: the first of them measures it. */
export interface SharedMeasures {
  /** Of the float model; `undefined` where no labels fit. */
  float?: Measurement | undefined;
}

export async function quantizeSharing(
  job: FormattedJob,
  context: Context,
  shared: SharedMeasures,
): Promise<QuantizeOutcome> {
  const run = await openRun(job, context);
  await measureFloat(run, shared);
  const quantized = await makeModel(run);
  return finish(run, quantized);
}

/** As a process other than the first: computes what is shared, and leaves the rest of the run to that one. */
export async function assist(job: FormattedJob, context: Context): Promise<void> {
  const run = await openRun(job, context);
  await measureFloat(run, {});
  const made = await makeModel(run);
  await measureWritten(run, made, writeMade(run, made));
}

/** What was written for the test's inputs, as a graph: absent where nothing is quantized. */
const foldedIn = (subject: Subject, { quantized }: Written): Folded | undefined =>
  quantized && { ...quantized.folded, graph: forTest(subject, quantized.folded.graph) };

/** What the file is worth against labels, where some fit, and against the float model. */
interface WrittenWorth {
  readonly deployed: Measurement | undefined;
  readonly fidelity: Fidelity | undefined;
}

/** As a graph and as a file; together with all other processes. */
async function measureWritten(run: Run, { start, model }: Made, written: Written): Promise<WrittenWorth> {
  const { subject, clock } = run;
  const file = modelIn(written.files[0]);
  const quantized = foldedIn(subject, written)?.graph;
  await measureStage(run, "quantized", quantized);
  const deployed = await clock.time("evaluation", () => measureDeployed(run, file));
  const stages = { ptq: forTest(subject, start), trained: forTest(subject, model.graph), quantized };
  const fidelity = await clock.time("evaluation", () => measureFidelity(run, stages, file));
  return { deployed, fidelity };
}

/** What can be known to be wrong before anything is computed is an error of this call. */
export async function openRun(asked: FormattedJob, given: Context): Promise<Run> {
  checkNames("quantizeModel", asked, fields);
  checkRun(asked.options);
  for (const text of unusedInRecipe(asked.options)) given.onNote?.(text);
  const context = { ...given, seed: asked.options.seed };
  const opened = openSubject(asked);
  const options = withGivenPlacement(asked.options, opened.start.graph);
  const job = { ...asked, options };
  const start = { ...opened.start, quantize: options.quantize };
  const subject = withEvenChannels({ ...opened, start }, options, context);
  await checkEarly(job, subject);
  const estimates = estimateMemory(job, subject, context.engine.name);
  job.checkMemory?.(estimates);
  noteLabels(subject, job, context);
  const placement = placementNote(job.options, subject.start.graph);
  if (placement !== undefined) context.onNote?.(placement);
  await checkGiven(job, subject, context);
  return { job, subject, context, clock: createClock(), measured: new Map() };
}

/** A model that came with quantizers gets none between its layers that nobody asked for. */
function withGivenPlacement(options: RunOptions, graph: Graph): RunOptions {
  if (options.quantize.placement !== undefined || !graph.nodes.some(isQuantizer)) return options;
  return { ...options, quantize: { ...options.quantize, placement: "inputs" } };
}

/** A run, and what it has measured so far. */
export interface Run extends Measured {
  readonly clock: Clock;
  /** Of the stages measured. */
  readonly measured: Map<Stage, Measurement>;
}

/** What can be known to be wrong before anything is computed. */
async function checkEarly({ options, preprocess, checkpoints, format }: FormattedJob, subject: Subject): Promise<void> {
  if (isQuantized(options)) checkPrecision(subject.start.graph);
  format?.check?.(layerForms(subject.start.graph, options.quantize));
  const data = { train: subject.train, preprocess };
  for (const step of options.methods) methodOf(step).check(subject.start, data, step.options);
  if (checkpoints?.resume) await checkCheckpoint(checkpoints.storage, checkpoints.fingerprint);
}

/** ONNX Runtime has no quantizers of float64. */
function checkPrecision(graph: Graph): void {
  const doubles = linearLayers(graph).filter(({ input }) => graph.values.get(input)?.dtype === "float64");
  if (doubles.length === 0) return;
  throw new FrostbitError(
    "BAD_MODEL",
    `${doubles.length} layer${doubles.length === 1 ? "" : "s"} of the model compute${doubles.length === 1 ? "s" : ""} in float64 ("${doubles[0].name}"), for which ONNX Runtime has no quantizers. Export the model in float32.`,
  );
}

async function measureStage(run: Run, stage: Stage, graph: Graph | undefined): Promise<Measurement | undefined> {
  const isLeftOut = stage !== "float" && !measuresAllStages(run.job.options);
  if (!graph || isLeftOut || !stagesOf(run.job.options).includes(stage)) return undefined;
  const metrics = await run.clock.time("evaluation", () => metricsOf(run, stage, graph));
  if (metrics) run.measured.set(stage, metrics);
  return metrics;
}

export async function measureFloat(run: Run, shared: SharedMeasures): Promise<void> {
  if (shared.float) {
    run.measured.set("float", shared.float);
    return;
  }
  shared.float = await measureStage(run, "float", run.subject.float);
  noteHints(run, shared.float?.metrics);
}

const noSolver = (): never => {
  throw new FrostbitError(
    "ENGINE",
    "Several budgets at once are an integer program, and the run has nothing that solves it. Give loadSolver: in Node loadHighs, with npm's highs installed.",
  );
};

/** What the methods of a run made of its model. */
export interface Made {
  /** As the methods before training left it. */
  readonly start: Graph;
  readonly model: MethodModel;
  readonly training: TrainingRecord | undefined;
  readonly fileChecks: Walked["fileChecks"];
  readonly latencyChecks: Walked["latencyChecks"];
  readonly findings: Findings;
  /** Of weights that a method rounded, by layer. */
  readonly awayFromNearest: QuantizeOutcome["awayFromNearest"];
}

export async function makeModel(run: Run, known?: KnownResults): Promise<Made> {
  const { job, subject, context, clock } = run;
  const [before, after] = splitAtTraining(job.options.methods);
  const walk = {
    all: job.options.methods,
    data: { train: subject.train, preprocess: job.preprocess },
    fileBytes: (graph: Graph) => sizeOfFiles(writeModel(job, graph)),
    timeFiles: (graphs: readonly Graph[], inputs: ReadonlyMap<string, Tensor>) =>
      measuredOnce(context, () => timeFiles(job, graphs, inputs)),
    loadSolver: job.loadSolver ?? noSolver,
    checkpoints: job.checkpoints,
    ...(known && { known }),
  };
  const calibrated = await clock.time("calibration", () =>
    runMethods(subject.start, { ...walk, steps: before }, context),
  );
  // What cannot be written fails before it is trained.
  if (after.length > 0) writeModel(job, calibrated.model.graph);
  await measureStage(run, "ptq", forTest(subject, calibrated.model.graph));
  const {
    model: last,
    training,
    fileChecks,
    latencyChecks,
    findings,
  } = await clock.time("training", () => runMethods(calibrated.model, { ...walk, steps: after }, context));
  const model = { ...last, graph: withStoredScales(job, last.graph) };
  await measureStage(run, "trained", forTest(subject, model.graph));
  const isRounded = before.some((step) => methodOf(step).phase === "rounding");
  return {
    start: calibrated.model.graph,
    model,
    training,
    fileChecks: [...calibrated.fileChecks, ...fileChecks],
    latencyChecks: [...calibrated.latencyChecks, ...latencyChecks],
    findings: withFindings(calibrated.findings, findings),
    awayFromNearest: isRounded ? countAway(calibrated.model.graph, calibrated.model.float) : new Map(),
  };
}

/** Times are process 0's: what is decided by them is the same everywhere. */
async function measuredOnce(
  { communicator }: Context,
  measure: () => Promise<readonly number[]>,
): Promise<readonly number[]> {
  if (!communicator) return measure();
  const own = communicator.rank === 0 ? await measure() : [];
  const bytes = await communicator.broadcast(new Uint8Array(Float64Array.from(own).buffer));
  return Array.from(new Float64Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 8));
}

/** What was made as files, not yet verified; throws VERIFICATION where they are not what a method promised. */
export function writeMade({ job, subject }: Run, { model, fileChecks }: Made): Written {
  const written = writeModel(job, withInputTypes(model.graph, subject.inputs));
  for (const check of fileChecks) check(whatWasWritten(written));
  return written;
}

/** What is known of a model before `finish`. */
interface Known {
  readonly written?: Written;
  readonly latencyMs?: QuantizeOutcome["latencyMs"] | undefined;
}

/** In a function of its own, whose end lets go of what is in memory of the file. */
async function keptFiles(run: Run, made: Made, known: Known): Promise<Written> {
  const written = known.written ?? writeMade(run, made);
  const [first, ...rest] = written.files;
  const { keepFile } = run.job;
  return keepFile ? { ...written, files: [await keepFile(first), ...rest] } : written;
}

/** Exports, verifies and measures what was made. */
export async function finish(run: Run, made: Made, known: Known = {}): Promise<QuantizeOutcome> {
  const { model, training, findings, awayFromNearest } = made;
  const { job, subject, context, clock, measured } = run;
  const { train, test } = subject;
  const scores = subject.scores?.output;
  const evaluated = <T>(work: () => Promise<T>): Promise<T> => clock.time("evaluation", work);
  const trained = forTest(subject, model.graph);
  const written = await keptFiles(run, made, known);
  const folded = foldedIn(subject, written);
  const [first] = written.files;
  const file = modelIn(first);
  const samples = await takeBatches(run, verificationCount(run));
  const verification = await evaluated(() => verifyModel(written, job, { trained, scores, samples }, context));
  const { deployed, fidelity } = await measureWritten(run, made, written);
  const latencyMs = known.latencyMs ?? (await evaluated(() => measureLatencies(run, file)));
  for (const check of made.latencyChecks) check({ float: latencyMs.float.batch1, deployed: latencyMs.deployed.batch1 });
  // Quantizers that came with the file are not part of the float model.
  const float = model.float === subject.start.graph ? subject.float : forTest(subject, model.float);
  const layers = await evaluated(() => measureEachLayer(run, { float, trained, folded }, samples[0]));
  const outputs = fidelity?.get("deployed") ?? (await evaluated(() => outputsAgainstFloat(run, file, samples)));
  const metrics = new Map([...measured].map(([stage, of]) => [stage, of.metrics] as const));
  if (deployed) metrics.set("deployed", deployed.metrics);
  return {
    get bytes() {
      return first.bytes;
    },
    files: [...written.files, ...othersOf(written)],
    trained,
    top1: topOf(metrics),
    metrics,
    trainingNote:
      training?.undone ??
      trainingNote(
        { metrics: measured.get("ptq"), fidelity: fidelity?.get("ptq") },
        { metrics: measured.get("trained"), fidelity: fidelity?.get("trained") },
      ),
    fidelity,
    outputs,
    losses: folded ? lossesOf(run, outputs, metrics) : [],
    bitsPerWeight: written.quantized?.format.bitsPerWeight?.(written.quantized.folded),
    scores,
    training,
    findings,
    awayFromNearest,
    verification,
    ...layers,
    latencyMs,
    seconds: clock.seconds,
    trainSamples: train.length,
    testSamples: test.length,
  };
}

/** What quantization cost so much of that the file is not of use, a sentence each. */
function lossesOf(
  { subject }: Run,
  outputs: QuantizeOutcome["outputs"],
  metrics: QuantizeOutcome["metrics"],
): readonly string[] {
  const [float, deployed] = [metrics.get("float"), metrics.get("deployed")];
  const [first] = subject.attended.outputs;
  const judged = float && deployed ? lossAgainstLabels(float, deployed) : undefined;
  const losses = outputs.map(
    (output) => [output.name, output.name === first && judged ? undefined : lossOf(output)] as const,
  );
  return [[first, judged?.loss] as const, ...losses].flatMap(([name, loss]) =>
    loss === undefined ? [] : [`output "${name}": ${loss}`],
  );
}

/** Where no accuracy can be measured; beside errors against measured values. */
async function measureFidelity(
  run: Run,
  graphs: Readonly<Partial<Record<Stage, Graph | undefined>>>,
  file: OpenedModel,
): Promise<Fidelity | undefined> {
  if (run.subject.labels.kind === "classes") return undefined;
  const { options } = run.job;
  const measured = new Map<Stage, Graph>();
  if (measuresAllStages(options))
    for (const stage of stagesOf(options)) {
      const graph = graphs[stage];
      if (graph) measured.set(stage, graph);
    }
  return fidelityOf(run, measured, file);
}

const topOf = (metrics: QuantizeOutcome["metrics"]): QuantizeOutcome["top1"] => ({
  float: metrics.get("float")?.top1 ?? null,
  ptq: metrics.get("ptq")?.top1 ?? null,
  trained: metrics.get("trained")?.top1 ?? null,
  quantized: metrics.get("quantized")?.top1 ?? null,
  deployed: metrics.get("deployed")?.top1 ?? null,
});
