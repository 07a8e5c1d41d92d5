// The walk up the ladder: which rung is tried next, and which one is kept.
import { budgetsOf, type Goal, secondsOf } from "../options/goal.ts";
import { type Drop, isBetter, isBeyond, isWithin } from "./drop.ts";
import {
  besideFloatLayers,
  besideFloats,
  inFloat,
  type Rung,
  rungsAsGiven,
  rungsAt,
  rungsWithin,
  type TrainedLoss,
  trainedBy,
} from "./rungs.ts";

/** What became of a rung. */
export type RungRecord = {
  readonly rung: Rung;
  /** Seconds that were expected. */
  readonly predicted: number;
} & (
  | {
      readonly outcome: "tried";
      readonly drop: Drop;
      readonly bytes: number;
      /** Of the float model's time; `undefined` where it was not measured, because nothing depended on it. */
      readonly latency: number | undefined;
      readonly seconds: number;
    }
  | { readonly outcome: "left out" | "failed"; readonly why: string }
);

/** A file that a rung made. */
export interface Trial {
  readonly rung: Rung;
  readonly drop: Drop;
  readonly bytes: number;
}

export interface Climber<T extends Trial> {
  /** Throws what ends the whole run; what ends this rung alone is its message. */
  readonly tryRung: (rung: Rung) => Promise<T | { readonly failed: string }>;
  readonly predict: (rung: Rung) => number;
  /** Seconds since the run began. */
  readonly elapsed: () => number;
  /** What may be lost where the goal says nothing of it. */
  readonly defaultDrop: number;
  /** That methods train by, as the labels want it. */
  readonly loss: TrainedLoss;
  /** Layers that keep 8 bits where the others have few. */
  readonly depthwise: readonly string[];
  /** Its layers, the one first whose quantization costs most. */
  readonly sensitiveLayers: (trial: T) => Promise<readonly string[]>;
  /** What its file takes of the float model's time, in one sample or in many, whichever is more. */
  readonly timeOf: (trial: T) => Promise<number>;
  /** Its layers that the runtime computes faster with floats; none where that would hardly be told from chance. */
  readonly slowLayers: (trial: T) => Promise<readonly string[]>;
}

export interface Climbed<T> {
  readonly chosen: T | undefined;
  /** Whether it keeps what the goal says. */
  readonly isReached: boolean;
  readonly records: readonly RungRecord[];
}

/** What says how narrow weights are. */
const widthOptions = ["weights", "layers", "firstLast"];

/** What says how activations are computed. */
const activationOptions = ["activations", "placement", "symmetricActivations", "target"];

/** The rungs that a goal starts with. */
export function firstRungs(goal: Goal): readonly Rung[] {
  if (budgetsOf(goal).length > 0) return rungsWithin(goal);
  return isFixed(goal) ? rungsAsGiven : rungsAt(8);
}

const isFixed = ({ fixed }: Goal): boolean =>
  fixed.some((name) => widthOptions.includes(name) || name === "activations");

/** Whether weights are to be as narrow as the drop allows. */
export const narrows = (goal: Goal): boolean =>
  goal.maxDrop !== undefined && budgetsOf(goal).length === 0 && !isFixed(goal);

/** Between the narrowest width that was enough and the widest that was not; `undefined` where there is none. */
export function nextWidth(enough: number, tooNarrow: number): number | undefined {
  if (enough - tooNarrow <= 1) return undefined;
  if (tooNarrow === 1) return enough > 4 ? 4 : enough - 1;
  return Math.floor((enough + tooNarrow) / 2);
}

export async function climb<T extends Trial>(goal: Goal, climber: Climber<T>): Promise<Climbed<T>> {
  const records: RungRecord[] = [];
  const isEnough = acceptanceOf(goal, climber.defaultDrop);
  const climbing: Climbing<T> = { goal, climber, records, isEnough };
  let best = await tryEach(firstRungs(goal), climbing);
  if (best && !isEnough(best) && budgetsOf(goal).length === 0) best = await withFloatLayers(best, climbing);
  const isFree = budgetsOf(goal).length === 0 && !goal.fixed.some((name) => activationOptions.includes(name));
  let kernels: Kernels = asIs;
  if (best && isFree) [best, kernels] = await withFastKernels(best, climbing);
  const isReached = best !== undefined && isEnough(best);
  if (best && isReached && narrows(goal)) best = await narrow(best, kernels, climbing);
  return { chosen: best, isReached, records };
}

/**
 * Within a budget, the most accurate is wanted: as good as the float model, unless the goal says how much may be lost. Else what more
 * than the goal was lost counts where it is not chance.
 */
function acceptanceOf(goal: Goal, defaultDrop: number): (trial: Trial) => boolean {
  const { maxDrop } = goal;
  if (maxDrop === undefined && budgetsOf(goal).length > 0) return ({ drop }) => drop.mean <= drop.error;
  return ({ drop }) => !isBeyond(drop, maxDrop ?? defaultDrop);
}

interface Climbing<T extends Trial> {
  readonly goal: Goal;
  readonly climber: Climber<T>;
  readonly records: RungRecord[];
  readonly isEnough: (trial: Trial) => boolean;
}

/** Until one is enough; else the one that lost least. */
async function tryEach<T extends Trial>(
  rungs: readonly Rung[],
  { goal, climber, records, isEnough }: Climbing<T>,
): Promise<T | undefined> {
  const limit = goal.budget === undefined ? Number.POSITIVE_INFINITY : secondsOf(goal.budget);
  let best: T | undefined;
  for (const rung of rungs.map((each) => trainedBy(each, climber.loss))) {
    const [predicted, before] = [timeTaken(records, rung) ?? climber.predict(rung), climber.elapsed()];
    const isFirst = !records.some(({ outcome }) => outcome === "tried");
    if (!isFirst && before + predicted > limit) {
      records.push({ rung, predicted, outcome: "left out", why: "the time given would not suffice" });
      continue;
    }
    const trial = await climber.tryRung(rung);
    if ("failed" in trial) {
      records.push({ rung, predicted, outcome: "failed", why: trial.failed });
      continue;
    }
    const { drop, bytes } = trial;
    const seconds = climber.elapsed() - before;
    records.push({ rung, predicted, outcome: "tried", drop, bytes, latency: undefined, seconds });
    if (isEnough(trial)) return trial;
    if (!best || isBetter(drop, best.drop)) best = trial;
  }
  return best;
}

/** The seconds that the same methods took last. */
function timeTaken(records: readonly RungRecord[], { methods }: Rung): number | undefined {
  const last = records.findLast(
    ({ outcome, rung }) => outcome === "tried" && JSON.stringify(rung.methods) === JSON.stringify(methods),
  );
  return last?.outcome === "tried" ? last.seconds : undefined;
}

/** One more layer in float, then two, four, …: up to half of them. */
async function withFloatLayers<T extends Trial>(start: T, climbing: Climbing<T>): Promise<T> {
  const layers = await climbing.climber.sensitiveLayers(start);
  const rungs: Rung[] = [];
  for (let count = 1; count <= layers.length / 2; count *= 2) rungs.push(inFloat(start.rung, layers.slice(0, count)));
  const found = await tryEach(rungs, climbing);
  return found && (climbing.isEnough(found) || isBetter(found.drop, start.drop)) ? found : start;
}

/** Which layers of a rung compute with floats. */
type Kernels = (rung: Rung) => Rung;

const asIs: Kernels = (rung) => rung;

/** A file that takes less of the float model's time has integer kernels for what takes time. */
const coveredTime = 2 / 3;

/** Of the size of a file, what another one may have that is as small. */
const sameSize = 1.1;

/**
 * Layers that are slower with integers than with floats compute with floats, and all of them where the file is slower than the float
 * model still: where that makes it faster, and it is good enough and as small.
 */
async function withFastKernels<T extends Trial>(start: T, climbing: Climbing<T>): Promise<readonly [T, Kernels]> {
  const { climber, records, isEnough } = climbing;
  const timed = async (trial: T): Promise<number> => {
    const latency = await climber.timeOf(trial);
    const index = records.findIndex(({ rung }) => rung === trial.rung);
    records[index] = { ...records[index], latency } as RungRecord;
    return latency;
  };
  let [best, kernels, least]: [T, Kernels, number] = [start, asIs, await timed(start)];
  const tryKernels = async (tried: Kernels): Promise<void> => {
    const found = await tryEach([tried(start.rung)], climbing);
    if (!found || (isEnough(start) && !isEnough(found)) || found.bytes > sameSize * start.bytes) return;
    const latency = await timed(found);
    if (latency < least) [best, kernels, least] = [found, tried, latency];
  };
  if (least <= coveredTime) return [best, kernels];
  const slow = await climber.slowLayers(start);
  if (slow.length > 0) await tryKernels((rung) => besideFloatLayers(rung, slow));
  if (least > 1) await tryKernels(besideFloats);
  return [best, kernels];
}

/** Narrower weights are worth it where they surely keep the goal: until then, what costs more is tried at each width. */
async function narrow<T extends Trial>(start: T, kernels: Kernels, climbing: Climbing<T>): Promise<T> {
  const { depthwise, defaultDrop } = climbing.climber;
  const isEnough = ({ drop }: Trial): boolean => isWithin(drop, climbing.goal.maxDrop ?? defaultDrop);
  let [best, enough, tooNarrow] = [start, 8, 1];
  for (let width = nextWidth(enough, tooNarrow); width !== undefined; width = nextWidth(enough, tooNarrow)) {
    const rungs = rungsAt(width, depthwise);
    const isSmaller = ({ bytes }: Trial): boolean => bytes < best.bytes;
    const trial = await tryEach(rungs.map(kernels), {
      ...climbing,
      // What else is tried at this width is as large.
      isEnough: (tried) => isEnough(tried) || !isSmaller(tried),
    });
    if (trial && isEnough(trial) && isSmaller(trial)) [best, enough] = [trial, width];
    else tooNarrow = width;
  }
  return best;
}
