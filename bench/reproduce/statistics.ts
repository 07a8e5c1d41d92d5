// Means and deviations of a cell's seeds.
import { nameOf, type Variant } from "./cells.ts";
import type { CellRecord } from "./records.ts";

export interface Summary {
  readonly mean: number;
  /** Of the sample (n − 1); NaN of one seed. */
  readonly deviation: number;
  readonly seeds: number;
}

function summarize(values: readonly number[]): Summary | undefined {
  if (values.length === 0) return undefined;
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  const squares = values.reduce((sum, value) => sum + (value - mean) ** 2, 0);
  return { mean, deviation: Math.sqrt(squares / (values.length - 1)), seeds: values.length };
}

/** Top-1 of the exported files of a variant's seeds. */
export const accuracyOf = (cells: readonly CellRecord[], variant: Variant): Summary | undefined =>
  summarize(
    cells
      .filter(({ name }) => name === nameOf(variant))
      .flatMap(({ top1 }) => (top1.deployed === null ? [] : [top1.deployed])),
  );

/** Top-1 of the float model, the same in every record. */
export const floatOf = (cells: readonly CellRecord[]): number | undefined =>
  cells.find(({ top1 }) => top1.float !== null)?.top1.float ?? undefined;

/** Of the difference of two means. */
export const standardError = (a: Summary, b: Summary): number =>
  Math.sqrt(a.deviation ** 2 / a.seeds + b.deviation ** 2 / b.seeds);
