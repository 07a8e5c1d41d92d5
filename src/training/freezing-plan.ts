// Which rows of which weight train until the next selection.
import type { PlanShape } from "./step.ts";

/** By weight: all of it, nothing, or the rows with these indices. */
export type FreezingPlan = ReadonlyMap<string, "all" | "none" | Int32Array>;

/** What a step is compiled for: another choice of rows is the same shape. */
export const shapeOfPlan = (plan: FreezingPlan): PlanShape =>
  new Map([...plan].map(([weight, rows]) => [weight, typeof rows === "string" ? rows : "rows"]));

/** The share of a weight's rows that a plan trains. */
export function trainedShare(rows: "all" | "none" | Int32Array, count: number): number {
  if (rows === "all") return 1;
  return rows === "none" ? 0 : rows.length / count;
}

export const planToJson = (plan: FreezingPlan): Record<string, string | number[]> =>
  Object.fromEntries([...plan].map(([weight, rows]) => [weight, typeof rows === "string" ? rows : [...rows]]));

export const planFromJson = (json: Readonly<Record<string, string | readonly number[]>>): FreezingPlan =>
  new Map(Object.entries(json).map(([weight, rows]) => [weight, typeof rows === "string" ? (rows === "all" ? "all" : "none") : Int32Array.from(rows)]));
