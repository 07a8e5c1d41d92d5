// GPTQ (arXiv:2210.17323): weights are rounded one input after the other, and what is lost is made up for by those not yet rounded.
import { roundHalfToEven } from "../../ir/round.ts";
import { tensor } from "../../ir/tensor.ts";
import { transposedMatrix } from "../../ir/transposed-matrix.ts";
import { clampTo } from "../../rounding/grid.ts";
import type { RoundingProblem } from "../../rounding/problem.ts";
import type { Multiply } from "../../rounding/products.ts";
import { inverseFactor } from "./cholesky.ts";
import type { GptqOptions } from "./options.ts";

/** Columns within which each error is made up for at once; by those behind them, for all of them together. */
const blockColumns = 128;

/** The integers, [groups, rows, columns]. */
export async function gptq(problem: RoundingProblem, options: GptqOptions, multiply: Multiply): Promise<Float64Array> {
  const { groups, rows, columns } = problem.form;
  const integers = new Float64Array(groups * rows * columns);
  for (let group = 0; group < groups; group++) await roundGroup(problem, group, options, integers, multiply);
  return integers;
}

async function roundGroup(
  problem: RoundingProblem,
  group: number,
  { roundingOrder, damping, reconstruct }: GptqOptions,
  integers: Float64Array,
  multiply: Multiply,
): Promise<void> {
  const { form, moments } = problem;
  const { rows, columns } = form;
  const size = columns * columns;
  const moment = moments.inputs.subarray(group * size, (group + 1) * size);
  const order = orderOf(moment, columns, roundingOrder);
  const added = damping * meanOf(order.map((i) => moment[i * columns + i]));
  const factor = await inverseFactor(damped(moment, order, added), columns, multiply);
  const weights = weightsOf(problem, group, order);
  const rest =
    reconstruct === "weights" ? weights : await answersOf(problem, { group, order, factor, added }, weights, multiply);
  for (let first = 0; first < columns; first += blockColumns) {
    const end = Math.min(columns, first + blockColumns);
    const errors = roundBlock({ problem, group, order, factor, rest, first, end }, integers);
    if (end === columns) return;
    const behind = factor.subarray(first * columns, end * columns);
    const lost = await multiply(errors, behind, { groups: 1, rows, inner: end - first, columns });
    for (let row = 0; row < rows; row++)
      for (let j = row * columns + end; j < (row + 1) * columns; j++) rest[j] -= lost[j];
  }
}

interface Block {
  readonly problem: RoundingProblem;
  readonly group: number;
  readonly order: readonly number[];
  readonly factor: Float64Array;
  /** What is left to be rounded, [rows, columns in their order]. */
  readonly rest: Float64Array;
  /** Its columns, from the first to before the end. */
  readonly first: number;
  readonly end: number;
}

/** Rows that go side by side: their sums do not wait for each other. */
const lanes = [0, 1, 2, 3] as const;

/** Rounds a block's columns. Returns what each was off by, over the factor's diagonal, [rows, columns of the block]. */
function roundBlock({ problem, group, order, factor, rest, first, end }: Block, integers: Float64Array): Float64Array {
  const { form, grid } = problem;
  const { rows, columns } = form;
  const width = end - first;
  const errors = new Float64Array(rows * width);
  const roundAt = (row: number, i: number): number => {
    const at = (group * rows + row) * columns + order[i];
    const wanted = rest[row * columns + i];
    const q = clampTo(grid, roundHalfToEven(wanted / grid.scale[at]) + grid.zeroPoint[at]);
    integers[at] = q;
    const error = (wanted - (q - grid.zeroPoint[at]) * grid.scale[at]) / factor[i * columns + i];
    errors[row * width + i - first] = error;
    return error;
  };
  for (let top = 0; top < rows; top += lanes.length) {
    const [row0, row1, row2, row3] = lanes.map((lane) => Math.min(top + lane, rows - 1));
    const [start0, start1, start2, start3] = [row0 * columns, row1 * columns, row2 * columns, row3 * columns];
    for (let i = first; i < end; i++) {
      const error0 = roundAt(row0, i);
      const error1 = row1 > row0 ? roundAt(row1, i) : 0;
      const error2 = row2 > row1 ? roundAt(row2, i) : 0;
      const error3 = row3 > row2 ? roundAt(row3, i) : 0;
      for (let j = i + 1; j < end; j++) {
        const u = factor[i * columns + j];
        rest[start0 + j] -= error0 * u;
        rest[start1 + j] -= error1 * u;
        rest[start2 + j] -= error2 * u;
        rest[start3 + j] -= error3 * u;
      }
    }
  }
  return errors;
}

/** Where nothing but zeros was seen, any damping will do. */
const meanOf = (values: readonly number[]): number =>
  values.reduce((sum, value) => sum + value, 0) / values.length || 1;

/** [rows, columns in their order] */
function weightsOf({ form, quotients, grid }: RoundingProblem, group: number, order: readonly number[]): Float64Array {
  const { rows, columns } = form;
  const weights = new Float64Array(rows * columns);
  for (let row = 0; row < rows; row++) {
    const start = (group * rows + row) * columns;
    for (let i = 0; i < columns; i++)
      weights[row * columns + i] = quotients[start + order[i]] * grid.scale[start + order[i]];
  }
  return weights;
}

interface Inverse {
  readonly group: number;
  readonly order: readonly number[];
  readonly factor: Float64Array;
  readonly added: number;
}

/** The least squares answers, (C + damping · W) (A + damping · I)⁻¹ = (C + damping · W) Uᵀ U */
async function answersOf(
  { form: { rows, columns }, moments: { cross } }: RoundingProblem,
  { group, order, factor, added }: Inverse,
  weights: Float64Array,
  multiply: Multiply,
): Promise<Float64Array> {
  const sizes = { groups: 1, rows, inner: columns, columns };
  const right = weights.map((w, at) => {
    const row = Math.floor(at / columns);
    return cross[(group * rows + row) * columns + order[at % columns]] + added * w;
  });
  const turned = transposedMatrix(tensor("float64", [columns, columns], factor)).data as Float64Array;
  return multiply(await multiply(right, turned, sizes), factor, sizes);
}

/** The columns in the order in which they are rounded. */
function orderOf(moment: Float64Array, columns: number, order: GptqOptions["roundingOrder"]): readonly number[] {
  const natural = Array.from({ length: columns }, (_, i) => i);
  const diagonal = (i: number): number => moment[i * columns + i];
  return order === "activations" ? natural.sort((i, j) => diagonal(j) - diagonal(i)) : natural;
}

/** H = A + added · I in the order given. */
function damped(moment: Float64Array, order: readonly number[], added: number): Float64Array {
  const n = order.length;
  const result = new Float64Array(n * n);
  order.forEach((i, row) => {
    order.forEach((j, column) => {
      result[row * n + column] = moment[i * n + j] + (row === column ? added : 0);
    });
  });
  return result;
}
