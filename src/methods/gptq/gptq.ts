// GPTQ (arXiv:2210.17323): weights are rounded one input after the other, and what is lost is made up for by those not yet rounded.
import { roundHalfToEven } from "../../ir/round.ts";
import { clampTo } from "../../rounding/grid.ts";
import type { RoundingProblem } from "../../rounding/problem.ts";
import { inverseFactor } from "./cholesky.ts";
import type { GptqOptions } from "./options.ts";

/** The integers, [groups, rows, columns]. */
export function gptq(problem: RoundingProblem, options: GptqOptions): Float64Array {
  const { groups, rows, columns } = problem.form;
  const integers = new Float64Array(groups * rows * columns);
  for (let group = 0; group < groups; group++) roundGroup(problem, group, options, integers);
  return integers;
}

function roundGroup(
  problem: RoundingProblem,
  group: number,
  { roundingOrder, damping, reconstruct }: GptqOptions,
  integers: Float64Array,
): void {
  const { form, grid, moments } = problem;
  const { rows, columns } = form;
  const size = columns * columns;
  const moment = moments.inputs.subarray(group * size, (group + 1) * size);
  const order = orderOf(moment, columns, roundingOrder);
  const added = damping * meanOf(order.map((i) => moment[i * columns + i]));
  const factor = inverseFactor(damped(moment, order, added), columns);
  const end = (group + 1) * rows;
  for (let first = group * rows; first < end; first += lanes) {
    const own = lanesOf((lane) => Math.min(first + lane, end - 1));
    const rest =
      reconstruct === "weights"
        ? lanesOf((lane) => weightsOf(problem, own[lane], order))
        : answersOf(problem, own, order, factor, added);
    for (let i = 0; i < columns; i++) {
      const errors = lanesOf((lane) => {
        const at = own[lane] * columns + order[i];
        const q = clampTo(grid, roundHalfToEven(rest[lane][i] / grid.scale[at]) + grid.zeroPoint[at]);
        integers[at] = q;
        return (rest[lane][i] - (q - grid.zeroPoint[at]) * grid.scale[at]) / factor[i * columns + i];
      });
      subtract(rest, errors, factor.subarray(i * columns, (i + 1) * columns), i);
    }
  }
}

/** Rows that go side by side: their sums do not wait for each other, and what all of them read is read once. */
const lanes = 4;
type Lanes<T> = readonly [T, T, T, T];

const lanesOf = <T>(of: (lane: number) => T): Lanes<T> => [of(0), of(1), of(2), of(3)];

/** From its start on, an error times a row of the factor. */
function subtract(rest: Lanes<Float64Array>, errors: Lanes<number>, row: Float64Array, start: number): void {
  const [rest0, rest1, rest2, rest3] = rest;
  const [error0, error1, error2, error3] = errors;
  for (let j = start; j < row.length; j++) {
    const u = row[j];
    rest0[j] -= error0 * u;
    rest1[j] -= error1 * u;
    rest2[j] -= error2 * u;
    rest3[j] -= error3 * u;
  }
}

/** Where nothing but zeros was seen, any damping will do. */
const meanOf = (values: readonly number[]): number =>
  values.reduce((sum, value) => sum + value, 0) / values.length || 1;

function weightsOf({ form, quotients, grid }: RoundingProblem, row: number, order: readonly number[]): Float64Array {
  const start = row * form.columns;
  return Float64Array.from(order, (column) => quotients[start + column] * grid.scale[start + column]);
}

/** The least squares answers of rows, (c + damping · w) (A + damping · I)⁻¹ = (c + damping · w) Uᵀ U */
function answersOf(
  problem: RoundingProblem,
  rows: Lanes<number>,
  order: readonly number[],
  factor: Float64Array,
  added: number,
): Lanes<Float64Array> {
  const n = order.length;
  const { cross } = problem.moments;
  const right = lanesOf((lane) =>
    weightsOf(problem, rows[lane], order).map((w, i) => cross[rows[lane] * n + order[i]] + added * w),
  );
  const answers = lanesOf(() => new Float64Array(n));
  for (let i = 0; i < n; i++) {
    const row = factor.subarray(i * n, (i + 1) * n);
    const [half0, half1, half2, half3] = dots(right, row, i);
    // Added, not subtracted.
    subtract(answers, [-half0, -half1, -half2, -half3], row, i);
  }
  return answers;
}

/** Of each lane and a row, from `start` on. */
function dots([a, b, c, d]: Lanes<Float64Array>, row: Float64Array, start: number): Lanes<number> {
  let [sum0, sum1, sum2, sum3] = [0, 0, 0, 0];
  for (let j = start; j < row.length; j++) {
    const u = row[j];
    sum0 += u * a[j];
    sum1 += u * b[j];
    sum2 += u * c[j];
    sum3 += u * d[j];
  }
  return [sum0, sum1, sum2, sum3];
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
