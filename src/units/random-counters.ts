// The inputs of a unit's step that its random choices are drawn by.
import { randomBits } from "../data/random.ts";
import type { Graph } from "../ir/graph.ts";
import { tensorOf } from "../ir/tensor.ts";
import type { Scheduled } from "../training/loop.ts";

const prefix = "frostbit/counter:";

/** The counter by which what concerns a value is drawn. */
export const randomCounterInput = (value: string): string => `${prefix}${value}`;

/** What those of a unit's graph are fed: by seed, unit, step and micro-batch, each in its place other numbers. */
export function randomCounters(unit: Graph, seed: number, index: number): ReadonlyMap<string, Scheduled> {
  const counters = unit.inputs.filter((input) => input.startsWith(prefix));
  return new Map(
    counters.map((name, place) => [
      name,
      (step, microBatch) =>
        tensorOf("int64", [], [randomBits(seed, index, step, place, ...(microBatch === 0 ? [] : [microBatch]))]),
    ]),
  );
}
