// Which rows of which weight train until the next selection.
import type { PlanShape } from "./planned-step.ts";

/** By weight: all of it, nothing, or the rows with these indices. */
export type FreezingPlan = ReadonlyMap<string, "all" | "none" | Int32Array>;

/** What a step is compiled for: another choice of rows is the same shape. */
export const shapeOfPlan = (plan: FreezingPlan): PlanShape =>
  new Map([...plan].map(([weight, rows]) => [weight, typeof rows === "string" ? rows : "rows"]));

/** The indices of the rows that a plan trains, of `count`. */
export function rowsOf(rows: "all" | "none" | Int32Array, count: number): Iterable<number> {
  if (rows === "none") return [];
  return rows === "all" ? Array.from({ length: count }, (_, row) => row) : rows;
}

export const planToJson = (plan: FreezingPlan): Record<string, string | number[]> =>
  Object.fromEntries([...plan].map(([weight, rows]) => [weight, typeof rows === "string" ? rows : [...rows]]));

export const planFromJson = (json: Readonly<Record<string, string | readonly number[]>>): FreezingPlan =>
  new Map(
    Object.entries(json).map(([weight, rows]) => [
      weight,
      typeof rows === "string" ? (rows === "all" ? "all" : "none") : Int32Array.from(rows),
    ]),
  );
