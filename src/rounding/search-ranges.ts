// Scales by which a weight rounded to nearest gives the least error of its layer's output.
import { roundHalfToEven } from "../ir/round.ts";
import { clampTo, dequantize, nearestIntegers, quotientOf } from "./grid.ts";
import { timesInputs } from "./moments.ts";
import type { RoundingProblem } from "./problem.ts";
import type { Multiply } from "./products.ts";

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

/**
 * The scales: those of one block of columns after those of another, each the best with the others as they are; a scale of several
 * rows by the error of all.
 */
export async function searchRanges(
  problem: RangeProblem,
  { coarse, fine }: RangeSearch,
  multiply: Multiply,
): Promise<Float64Array> {
  const { grid, quotients, moments } = problem;
  const chosen = Float64Array.from(problem.scales);
  const values = dequantize(grid, nearestIntegers(quotients, grid));
  const slopes = await timesInputs(moments, values, multiply);
  for (let at = 0; at < slopes.length; at++) slopes[at] -= moments.cross[at];
  const blocks = columnBlocks(problem);
  for (const [index, columns] of blocks.entries()) {
    const block = blockOf(problem, columns, values, slopes);
    const rough = await bestFactors(block, coarse, undefined, multiply);
    const { factors } = await bestFactors(block, fine, rough, multiply);
    block.scales.forEach((scale, i) => {
      chosen[scale] = stored(problem, problem.scales[scale] * factors[i]);
    });
    if (index < blocks.length - 1) await move(block, factors, multiply);
  }
  return chosen;
}

/** Columns that share scales in every row. */
function columnBlocks({ form, scaleOf }: RangeProblem): readonly (readonly number[])[] {
  const blocks = new Map<number, number[]>();
  for (let column = 0; column < form.columns; column++) {
    const block = blocks.get(scaleOf[column]) ?? [];
    block.push(column);
    blocks.set(scaleOf[column], block);
  }
  return [...blocks.values()];
}

interface Block {
  readonly problem: RangeProblem;
  readonly columns: readonly number[];
  /** Which of the problem's scales it has, and by row which of these. */
  readonly scales: readonly number[];
  readonly scaleOfRow: Int32Array;
  /** The rounded weight ŵ, and A ŵ − c, half the slope of its error; both in the order [groups, rows, columns]. */
  readonly values: Float64Array;
  readonly slopes: Float64Array;
  /** A of these columns, [groups, columns, columns]. */
  readonly moments: Float64Array;
  /** How far its weights move, [groups, rows, columns], and that times the moments: written into again and again. */
  readonly moved: Float64Array;
  readonly product: Float64Array;
}

function blockOf(problem: RangeProblem, columns: readonly number[], values: Float64Array, slopes: Float64Array): Block {
  const { form, scaleOf } = problem;
  const rows = form.groups * form.rows;
  const places = new Map<number, number>();
  const scaleOfRow = Int32Array.from({ length: rows }, (_, row) => {
    const scale = scaleOf[row * form.columns + columns[0]];
    const place = places.get(scale) ?? places.size;
    places.set(scale, place);
    return place;
  });
  const [moved, product] = [new Float64Array(rows * columns.length), new Float64Array(rows * columns.length)];
  const moments = momentsAmong(problem, columns, columns);
  return { problem, columns, scales: [...places.keys()], scaleOfRow, values, slopes, moments, moved, product };
}

/** By scale of a block: the best factor, and what the error changes by with it. */
interface Best {
  readonly factors: Float64Array;
  readonly changes: Float64Array;
}

/** `steps` from the factors before, or from 1. */
async function bestFactors(
  block: Block,
  steps: readonly number[],
  before: Best | undefined,
  multiply: Multiply,
): Promise<Best> {
  const count = block.scales.length;
  const start = before ?? { factors: new Float64Array(count).fill(1), changes: new Float64Array(count) };
  const best = { factors: start.factors.slice(), changes: start.changes.slice() };
  for (const step of steps) {
    const factors = start.factors.map((factor) => factor * step);
    (await changesOf(block, factors, multiply)).forEach((change, i) => {
      if (!(change < best.changes[i])) return;
      best.factors[i] = factors[i];
      best.changes[i] = change;
    });
  }
  return best;
}

/** As the graph holds it. */
const stored = ({ dtype }: RangeProblem, scale: number): number => (dtype === "float32" ? Math.fround(scale) : scale);

/** A[rows, columns] of some columns as rows, [groups, rows, columns]. */
function momentsAmong(
  { form, moments }: RangeProblem,
  rows: readonly number[],
  columns: readonly number[],
): Float64Array {
  const width = form.columns;
  if (rows.length === width && columns.length === width) return moments.inputs;
  const result = new Float64Array(form.groups * rows.length * columns.length);
  let at = 0;
  for (let group = 0; group < form.groups; group++)
    for (const row of rows)
      for (const column of columns) result[at++] = moments.inputs[(group * width + row) * width + column];
  return result;
}

/** Fills in how far the block's weights move by rounding them with these times their scales. */
function differencesOf(block: Block, factors: Float64Array): Float64Array {
  const { problem, columns, scales, scaleOfRow, values, moved } = block;
  const { dtype, form, weights, grid } = problem;
  for (let row = 0, i = 0; row < scaleOfRow.length; row++) {
    const which = scaleOfRow[row];
    const scale = stored(problem, problem.scales[scales[which]] * factors[which]);
    for (const column of columns) {
      const at = row * form.columns + column;
      const z = grid.zeroPoint[at];
      const q = clampTo(grid, roundHalfToEven(quotientOf(dtype, weights[at], scale)) + z);
      moved[i++] = (q - z) * scale - values[at];
    }
  }
  return moved;
}

/** By scale, what the error changes by: (ŵ + d) A (ŵ + d)ᵀ − 2 (ŵ + d) cᵀ less the same without d. */
async function changesOf(block: Block, factors: Float64Array, multiply: Multiply): Promise<Float64Array> {
  const { problem, columns, scaleOfRow, slopes, moments } = block;
  const { groups, rows, columns: width } = problem.form;
  const inner = columns.length;
  const moved = differencesOf(block, factors);
  const product = await multiply(moved, moments, { groups, rows, inner, columns: inner }, block.product);
  const changes = new Float64Array(block.scales.length);
  for (let row = 0, i = 0; row < scaleOfRow.length; row++) {
    let change = 0;
    for (const column of columns) {
      change += moved[i] * (2 * slopes[row * width + column] + product[i]);
      i++;
    }
    changes[scaleOfRow[row]] += problem.factors[row] ** 2 * change;
  }
  return changes;
}

/** Moves the block's weights, and all slopes by that. */
async function move(block: Block, factors: Float64Array, multiply: Multiply): Promise<void> {
  const { problem, columns, scaleOfRow, values, slopes } = block;
  const { groups, rows, columns: width } = problem.form;
  const moved = differencesOf(block, factors);
  const all = Array.from({ length: width }, (_, column) => column);
  const among = momentsAmong(problem, columns, all);
  const product = await multiply(moved, among, { groups, rows, inner: columns.length, columns: width });
  for (let at = 0; at < slopes.length; at++) slopes[at] += product[at];
  for (let row = 0, i = 0; row < scaleOfRow.length; row++)
    for (const column of columns) values[row * width + column] += moved[i++];
}
