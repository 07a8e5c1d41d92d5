// Walks the units of a quantized network, in as many phases as a method has: each unit trains to give what it gives in float, knowing
// what those before it have become.
import { z } from "zod";
import { readSafetensors, writeSafetensors } from "../data/safetensors.ts";
import { memoryStorage, type Storage } from "../data/storage.ts";
import { assert, FrostbitError } from "../ir/errors.ts";
import type { Graph } from "../ir/graph.ts";
import { heldCodes } from "../ir/held-narrow.ts";
import { copyTensor, numbersOf, sizeOf, type Tensor, tensorOf } from "../ir/tensor.ts";
import { bytesSource } from "../ir/tensor-source.ts";
import { foldConstants } from "../passes/fold-constants.ts";
import { withFloatActivations } from "../rounding/float-activations.ts";
import type { Batches } from "../rounding/layer-pass.ts";
import { type Context, signalOf } from "../run/context.ts";
import { withProgram } from "../run/with-program.ts";
import { type CheckpointOptions, loadCheckpoint, saveCheckpoint } from "../training/checkpoint.ts";
import { openActivationCache } from "../units/activation-cache.ts";
import { cutUnit } from "../units/cut-unit.ts";
import { optimizeUnits, type UnitData } from "../units/optimize-units.ts";
import { withSharedPlans } from "../units/shared-plans.ts";
import { cutIntoUnits, type Unit, type UnitKind } from "../units/units.ts";
import { looksAtScores } from "./loss.ts";
import { applyOutcome, type Outcome, outcomeOf, tensorsOf } from "./outcome.ts";
import type { Phase } from "./phase.ts";
import { type ReconstructedUnit, reconstructUnit, type UnitJob, type UnitRecord } from "./reconstruct-unit.ts";
import { type Predictions, predictedScores, restOf } from "./rest.ts";
import { type RateFactors, searchRates } from "./search-rates.ts";

export interface ReconstructionJob {
  readonly quantized: Graph;
  /** Names its values as the quantized graph does. Weights that are quantized in it keep their integers. */
  readonly float: Graph;
  readonly batches: Batches;
  readonly phases: readonly Phase[];
  readonly unit: UnitKind;
  /** Samples of a step; at most half of all. */
  readonly batch: number;
  /** Micro-batches that a step is computed in; 1 where absent. */
  readonly accumulate?: number;
  /** Samples at the end that nothing is fitted to, whole batches of them; `heldOutOf` all where absent. */
  readonly heldOut?: number;
  /** What activations may take in memory before they go to the checkpoints' storage. */
  readonly cacheBytes: number;
  readonly cacheFloats: "float32" | "float16";
  /** Whether streams of activations, and errors on samples held out, are computed as training steps are, not in float32. */
  readonly isAsTrained?: boolean;
  readonly checkpoints: CheckpointOptions | undefined;
}

export interface Reconstructed {
  readonly graph: Graph;
  /** Of units that trained, phase after phase. */
  readonly units: readonly UnitRecord[];
}

/** One in sixteen samples, in whole batches. */
export const heldOutOf = (samples: number, batch: number): number =>
  Math.max(1, Math.floor(samples / 16 / batch)) * batch;

export async function reconstruct(job: ReconstructionJob, context: Context): Promise<Reconstructed> {
  return withSharedPlans(context, (sharing) => reconstructUnits(job, sharing));
}

async function reconstructUnits(job: ReconstructionJob, context: Context): Promise<Reconstructed> {
  const units = cutIntoUnits(job.float, job.unit);
  const progress = await startOrResume(job, context);
  const scores = job.phases.some(({ loss }) => looksAtScores(loss.kind)) ? await floatScores(job, context) : undefined;
  let graph = job.quantized;
  for (const [index, phase] of job.phases.entries()) {
    const [first, end] = [index * units.length, (index + 1) * units.length];
    if (progress.done.length >= end) {
      graph = progress.done.slice(first, end).reduce((model, { outcome }) => applyOutcome(model, outcome), graph);
      continue;
    }
    const outcomes: Outcome[] = [];
    const predictionsOf = ({ index: at }: UnitData): Predictions | undefined =>
      scores && looksAtScores(phase.loss.kind) ? { rest: restOf(job.float, units, at, job.batch), scores } : undefined;
    const optimize = async (data: UnitData): Promise<Graph> => {
      const done =
        progress.done[first + data.index] ??
        (await reconstructAndSave({ job, phase, predictions: predictionsOf(data) }, data, progress, context));
      outcomes.push(done.outcome);
      return applyOutcome(data.quantized, done.outcome);
    };
    await walk(job, phase, { units, graph }, optimize, context);
    graph = outcomes.reduce(applyOutcome, graph);
  }
  return { graph, units: progress.done.flatMap(({ record }) => record ?? []) };
}

/** The float model's class scores of all samples, and of any of them. */
async function floatScores({ float, batches }: ReconstructionJob, context: Context): Promise<Predictions["scores"]> {
  const { logits } = predictedScores(float);
  const seen: Tensor[] = [];
  await withProgram(cutUnit(float, float.inputs, [logits]), context, async (program) => {
    for await (const batch of batches()) {
      const found = (await program.run(batch, signalOf(context))).get(logits);
      assert(found, `the float model gives no "${logits}"`);
      seen.push(found);
    }
  });
  const [{ dtype, shape }] = seen;
  const sample = sizeOf(shape.slice(1));
  const all = Float64Array.from(seen.flatMap((value) => Array.from(numbersOf(value))));
  return (samples) => {
    const chosen = Array.from(samples, (at) => Array.from(all.subarray(at * sample, (at + 1) * sample))).flat();
    return tensorOf(dtype, [samples.length, ...shape.slice(1)], chosen);
  };
}

/** Units that are done, in order. */
interface RunProgress {
  readonly done: ReconstructedUnit[];
}

interface UnitTurn {
  readonly job: ReconstructionJob;
  readonly phase: Phase;
  readonly predictions: Predictions | undefined;
}

async function reconstructAndSave(
  {
    job: { float, batch, accumulate = 1, heldOut: given, checkpoints, isAsTrained = false },
    phase,
    predictions,
  }: UnitTurn,
  data: UnitData,
  { done }: RunProgress,
  context: Context,
): Promise<ReconstructedUnit> {
  const heldOut = given ?? heldOutOf(data.samples, batch);
  const rates = ratesOf(done.slice(done.length - data.index));
  const job = { data, float, phase, predictions, batch, accumulate, heldOut, isAsTrained };
  const unit = await withRates(job, rates, context).catch((error: unknown) => {
    throw error instanceof FrostbitError && error.code === "ABORTED"
      ? stoppedAt(data, done.length, checkpoints !== undefined)
      : error;
  });
  done.push(unit);
  if (unit.record) report(unit.record, context);
  if (checkpoints) await save(checkpoints, done);
  return unit;
}

function stoppedAt({ unit }: UnitData, done: number, isSaved: boolean): FrostbitError {
  const remedy = isSaved ? ` Go on with --resume, from the start of "${unit.name}".` : "";
  return new FrostbitError("ABORTED", `Stopped in unit "${unit.name}", after ${done} that are done.${remedy}`);
}

/** Those that the first unit of a walk chose. */
const ratesOf = ([first]: readonly ReconstructedUnit[]): RateFactors | undefined => first?.record?.rates;

/** With rates that were chosen, that are chosen now, or as they are. */
async function withRates(job: UnitJob, rates: RateFactors | undefined, context: Context): Promise<ReconstructedUnit> {
  const { rounding } = job.phase;
  if (!rounding?.searchesRates) return reconstructUnit(job, context);
  const tried = new Map<RateFactors, ReconstructedUnit>();
  const reconstructed = async (factors: RateFactors): Promise<ReconstructedUnit> => {
    const { learningRate, scaleRate = 0 } = rounding;
    const scaled = { learningRate: learningRate * factors.weights, scaleRate: scaleRate * factors.scales };
    return reconstructUnit({ ...job, phase: { ...job.phase, rounding: { ...rounding, ...scaled } } }, context);
  };
  const chosen =
    rates ??
    (await searchRates(async (factors) => {
      const unit = await reconstructed(factors);
      tried.set(factors, unit);
      return unit.record?.after ?? 0;
    }));
  const unit = tried.get(chosen) ?? (await reconstructed(chosen));
  return { ...unit, record: unit.record && { ...unit.record, rates: chosen } };
}

/** Streams of activations that stay float carry weights alone. */
async function walk(
  job: ReconstructionJob,
  phase: Phase,
  { units, graph }: { readonly units: readonly Unit[]; readonly graph: Graph },
  optimize: (data: UnitData) => Promise<Graph>,
  context: Context,
): Promise<void> {
  const { batches, batch, cacheBytes, cacheFloats, checkpoints, isAsTrained = false } = job;
  const given = phase.activations === "quantized" ? graph : withFloatActivations(graph);
  // Once for all units: what follows from sizes alone, as a decoder's masks and rotations.
  const [float, quantized] = [foldConstants(job.float), foldConstants(given)];
  const storage = checkpoints?.storage ?? memoryStorage();
  const cache = await openActivationCache({ storage, memoryBytes: cacheBytes, floats: cacheFloats });
  try {
    const walked = { units, float, quantized, batches: batches(), cache, batchSize: batch, isAsTrained };
    await optimizeUnits(walked, optimize, context);
  } finally {
    await cache.dispose();
  }
}

function report({ unit, before, after, kept }: UnitRecord, { onNote, onProgress }: Context): void {
  const [from, to] = [before, after].map((error) => error.toPrecision(3));
  onProgress?.({ phase: `train ${unit}`, done: 1, total: 1, note: `error ${from} → ${to}` });
  if (kept === "trained") return;
  onNote?.(
    `Unit "${unit}" stays as it was before it trained: on samples held out, the error of its output is ${from} of its power, and trained ${to}.`,
  );
}

const recordSchema = z.object({
  unit: z.string(),
  before: z.number(),
  after: z.number(),
  kept: z.enum(["trained", "before"]),
  undecided: z.number(),
  rates: z.object({ weights: z.number(), scales: z.number() }).optional(),
});
/** Of each unit that is done: null where nothing of it trained. */
const stateSchema = z.object({ units: z.array(recordSchema.nullable()) });

const fileOf = (index: number): string => `unit-${index}.safetensors`;

/** A file for the unit done last, and the state, which says how many are valid. */
async function save({ storage, fingerprint }: CheckpointOptions, done: readonly ReconstructedUnit[]): Promise<void> {
  const index = done.length - 1;
  await storage.write(fileOf(index), writeSafetensors(tensorsOf(done[index].outcome)));
  const own = { units: done.map(({ record }) => record ?? null) };
  await saveCheckpoint(storage, { variables: new Map(), state: { fingerprint, step: done.length, losses: [] }, own });
}

async function startOrResume({ checkpoints }: ReconstructionJob, { onNote }: Context): Promise<RunProgress> {
  if (!checkpoints?.resume) return { done: [] };
  const { storage, fingerprint } = checkpoints;
  const saved = await loadCheckpoint(storage, fingerprint, stateSchema);
  if (!saved) return { done: [] };
  onNote?.(`Resumed after ${saved.own.units.length} units.`);
  const done: ReconstructedUnit[] = [];
  for (const [index, record] of saved.own.units.entries())
    done.push({ outcome: await readOutcome(storage, fileOf(index)), record: record ?? undefined });
  return { done };
}

async function readOutcome(storage: Storage, file: string): Promise<Outcome> {
  const bytes = await storage.read(file);
  if (!bytes)
    throw new FrostbitError(
      "IO",
      `The checkpoint's "${file}" is missing. Remove the checkpoint folder and start again.`,
    );
  const { tensors } = readSafetensors(bytesSource(bytes), file);
  return outcomeOf(new Map([...tensors].map(([name, value]) => [name, ownTensor(value)])));
}

/** What is kept of a file must not keep all of it. */
function ownTensor(value: Tensor): Tensor {
  const own = copyTensor(value);
  const { shape, data } = own;
  return data instanceof Int8Array || data instanceof Uint8Array ? heldCodes(data, shape) : own;
}
