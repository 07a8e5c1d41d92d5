// The walk up the ladder: which rung is tried next, and which one is kept.
import { budgetsOf, type Goal, secondsOf } from "../options/goal.ts";
import { type Drop, isBetter, isWithin } from "./drop.ts";
import { inFloat, type Rung, rungsAsGiven, rungsAt, rungsWithin } from "./rungs.ts";

/** What became of a rung. */
export type RungRecord = {
  readonly rung: Rung;
  /** Seconds that were expected. */
  readonly predicted: number;
} & (
  | { readonly outcome: "tried"; readonly drop: Drop; readonly bytes: number; readonly seconds: number }
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
  /** Layers that keep 8 bits where the others have few. */
  readonly depthwise: readonly string[];
  /** Its layers, the one first whose quantization costs most. */
  readonly sensitiveLayers: (trial: T) => Promise<readonly string[]>;
}

export interface Climbed<T> {
  readonly chosen: T | undefined;
  /** Whether it keeps what the goal says. */
  readonly isReached: boolean;
  readonly records: readonly RungRecord[];
}

/** What a goal that says nothing of it allows to be lost. */
const defaultDrop = 0.5;

/** What says how narrow weights are. */
const widthOptions = ["weights", "layers", "firstLast"];

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
  const isEnough = acceptanceOf(goal);
  const among = (rungs: readonly Rung[]) => tryEach(rungs, { goal, climber, records, isEnough });
  let best = await among(firstRungs(goal));
  if (best && !isEnough(best) && budgetsOf(goal).length === 0) best = await withFloatLayers(best, among, climber);
  const isReached = best !== undefined && isEnough(best);
  if (best && isReached && narrows(goal)) best = await narrow(best, among, { isEnough, depthwise: climber.depthwise });
  return { chosen: best, isReached, records };
}

/** Within a budget, the most accurate is wanted: as good as the float model, unless the goal says how much may be lost. */
function acceptanceOf(goal: Goal): (trial: Trial) => boolean {
  const { maxDrop } = goal;
  if (maxDrop === undefined && budgetsOf(goal).length > 0) return ({ drop }) => drop.mean <= drop.error;
  return ({ drop }) => isWithin(drop, maxDrop ?? defaultDrop);
}

interface Climbing<T extends Trial> {
  readonly goal: Goal;
  readonly climber: Climber<T>;
  readonly records: RungRecord[];
  readonly isEnough: (trial: Trial) => boolean;
}

type Among<T> = (rungs: readonly Rung[]) => Promise<T | undefined>;

/** Until one is enough; else the one that lost least. */
async function tryEach<T extends Trial>(
  rungs: readonly Rung[],
  { goal, climber, records, isEnough }: Climbing<T>,
): Promise<T | undefined> {
  const limit = goal.budget === undefined ? Number.POSITIVE_INFINITY : secondsOf(goal.budget);
  let best: T | undefined;
  for (const rung of rungs) {
    const [predicted, before] = [climber.predict(rung), climber.elapsed()];
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
    records.push({ rung, predicted, outcome: "tried", drop, bytes, seconds: climber.elapsed() - before });
    if (isEnough(trial)) return trial;
    if (!best || isBetter(drop, best.drop)) best = trial;
  }
  return best;
}

/** One more layer in float, then two, four, …: up to half of them. */
async function withFloatLayers<T extends Trial>(start: T, among: Among<T>, climber: Climber<T>): Promise<T> {
  const layers = await climber.sensitiveLayers(start);
  const rungs: Rung[] = [];
  for (let count = 1; count <= layers.length / 2; count *= 2) rungs.push(inFloat(start.rung, layers.slice(0, count)));
  const found = await among(rungs);
  return found && isBetter(found.drop, start.drop) ? found : start;
}

async function narrow<T extends Trial>(
  start: T,
  among: Among<T>,
  { isEnough, depthwise }: { readonly isEnough: (trial: T) => boolean; readonly depthwise: readonly string[] },
): Promise<T> {
  let [best, enough, tooNarrow] = [start, 8, 1];
  for (let width = nextWidth(enough, tooNarrow); width !== undefined; width = nextWidth(enough, tooNarrow)) {
    const trial = await among(rungsAt(width, depthwise));
    if (trial && isEnough(trial) && trial.bytes < best.bytes) [best, enough] = [trial, width];
    else tooNarrow = width;
  }
  return best;
}
