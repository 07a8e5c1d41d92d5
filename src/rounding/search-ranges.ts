// Scales by which a weight rounded to nearest gives the least error of its layer's output.
import { roundHalfToEven } from "../ir/round.ts";
import { clampTo, dequantize, nearestIntegers, quotientOf } from "./grid.ts";
import { dotAt } from "./moments.ts";
import type { RoundingProblem } from "./problem.ts";

/** Factors of a scale that are tried: the coarse ones, then the best of them times each of the fine ones. */
export interface RangeSearch {
  readonly coarse: readonly number[];
  readonly fine: readonly number[];
}

/** From 0.42 to 1.37 times the scale. */
export const anyScale: RangeSearch = {
  coarse: [1, 1.3, 1.16, 1.08, 0.92, 0.84, 0.76, 0.68, 0.6, 0.52, 0.44],
  fine: [0.95, 0.97, 0.985, 1.015, 1.03, 1.05],
};

export const powersOfTwo: RangeSearch = { coarse: [1, 2, 0.5, 0.25], fine: [] };

/** Besides the problem of rounding, where the scales come from. */
export interface RangeProblem extends RoundingProblem {
  readonly weights: Float64Array;
  /** The quantizer's scales, and which of them each weight has. */
  readonly scales: Float64Array;
  readonly scaleOf: Float64Array;
}

/** The elements of one row that share a scale. */
interface Cell {
  readonly row: number;
  readonly columns: readonly number[];
}

/** The scales, one after the other the best with the others as they are; a scale of several rows by the error of all. */
export function searchRanges(problem: RangeProblem, { coarse, fine }: RangeSearch): Float64Array {
  const { grid, quotients } = problem;
  const chosen = Float64Array.from(problem.scales);
  const values = dequantize(grid, nearestIntegers(quotients, grid));
  const state = { problem, values, slopes: slopesOf(problem, values) };
  cellsOf(problem).forEach((cells, index) => {
    const given = problem.scales[index];
    const tried = (factors: readonly number[], start: Trial): Trial =>
      factors.reduce((best, factor) => {
        const change = changeOf(state, cells, stored(problem, given * factor));
        return change < best.change ? { factor, change } : best;
      }, start);
    const rough = tried(coarse, { factor: 1, change: 0 });
    const { factor } = tried(
      fine.map((step) => step * rough.factor),
      rough,
    );
    chosen[index] = stored(problem, given * factor);
    for (const cell of cells) move(state, cell, differencesOf(state, cell, chosen[index]));
  });
  return chosen;
}

interface Trial {
  readonly factor: number;
  readonly change: number;
}

/** The rounded weight ŵ, and A ŵ − c, half the slope of its error; both in the order [groups, rows, columns]. */
interface State {
  readonly problem: RangeProblem;
  readonly values: Float64Array;
  readonly slopes: Float64Array;
}

/** As the graph holds it. */
const stored = ({ dtype }: RangeProblem, scale: number): number => (dtype === "float32" ? Math.fround(scale) : scale);

/** By scale. */
function cellsOf({ form, scales, scaleOf }: RangeProblem): readonly (readonly Cell[])[] {
  const found = Array.from(scales, () => new Map<number, number[]>());
  scaleOf.forEach((scale, at) => {
    const row = Math.floor(at / form.columns);
    const columns = found[scale].get(row) ?? [];
    columns.push(at % form.columns);
    found[scale].set(row, columns);
  });
  return found.map((rows) => [...rows].map(([row, columns]) => ({ row, columns })));
}

const momentsAt = ({ form: { rows, columns } }: RangeProblem, row: number): number =>
  Math.floor(row / rows) * columns * columns;

function slopesOf(problem: RangeProblem, values: Float64Array): Float64Array {
  const { inputs, cross } = problem.moments;
  const { columns } = problem.form;
  return cross.map((wanted, at) => {
    const row = Math.floor(at / columns);
    const start = momentsAt(problem, row) + (at % columns) * columns;
    return dotAt(inputs, start, values.subarray(row * columns, (row + 1) * columns), columns) - wanted;
  });
}

/** By column of the cell, how far its weights move by rounding them with this scale. */
function differencesOf({ problem, values }: State, { row, columns }: Cell, scale: number): Float64Array {
  const { dtype, form, weights, grid } = problem;
  return Float64Array.from(columns, (column) => {
    const at = row * form.columns + column;
    const z = grid.zeroPoint[at];
    const q = clampTo(grid, roundHalfToEven(quotientOf(dtype, weights[at], scale)) + z);
    return (q - z) * scale - values[at];
  });
}

/** What the error changes by: (ŵ + d) A (ŵ + d)ᵀ − 2 (ŵ + d) cᵀ less the same without d. */
function changeOf(state: State, cells: readonly Cell[], scale: number): number {
  const { problem, slopes } = state;
  const { inputs } = problem.moments;
  const width = problem.form.columns;
  let total = 0;
  for (const cell of cells) {
    const { row, columns } = cell;
    const moved = differencesOf(state, cell, scale);
    const start = momentsAt(problem, row);
    const isWhole = columns.length === width;
    let change = 0;
    for (let i = 0; i < columns.length; i++) {
      if (moved[i] === 0) continue;
      const a = start + columns[i] * width;
      const below = isWhole ? dotAt(inputs, a, moved, i) : dotOf(inputs, a, columns, moved, i);
      change += moved[i] * (2 * (slopes[row * width + columns[i]] + below) + inputs[a + columns[i]] * moved[i]);
    }
    total += problem.factors[row] ** 2 * change;
  }
  return total;
}

/** Σ a[start + columns[i]] · b[i] of the first `count`. */
function dotOf(a: Float64Array, start: number, columns: readonly number[], b: Float64Array, count: number): number {
  let sum = 0;
  for (let i = 0; i < count; i++) sum += a[start + columns[i]] * b[i];
  return sum;
}

function move({ problem, values, slopes }: State, { row, columns }: Cell, moved: Float64Array): void {
  const width = problem.form.columns;
  const { inputs } = problem.moments;
  const start = momentsAt(problem, row);
  const own = slopes.subarray(row * width, (row + 1) * width);
  columns.forEach((column, i) => {
    const by = moved[i];
    if (by === 0) return;
    values[row * width + column] += by;
    const a = start + column * width;
    for (let j = 0; j < width; j++) own[j] += inputs[a + j] * by;
  });
}
