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
  for (let row = group * rows; row < (group + 1) * rows; row++) {
    const rest =
      reconstruct === "weights" ? weightsOf(problem, row, order) : answersOf(problem, row, order, factor, added);
    for (let i = 0; i < columns; i++) {
      const at = row * columns + order[i];
      const q = clampTo(grid, roundHalfToEven(rest[i] / grid.scale[at]) + grid.zeroPoint[at]);
      integers[at] = q;
      const error = (rest[i] - (q - grid.zeroPoint[at]) * grid.scale[at]) / factor[i * columns + i];
      for (let j = i; j < columns; j++) rest[j] -= error * factor[i * columns + j];
    }
  }
}

/** Where nothing but zeros was seen, any damping will do. */
const meanOf = (values: readonly number[]): number =>
  values.reduce((sum, value) => sum + value, 0) / values.length || 1;

function weightsOf({ form, quotients, grid }: RoundingProblem, row: number, order: readonly number[]): Float64Array {
  const start = row * form.columns;
  return Float64Array.from(order, (column) => quotients[start + column] * grid.scale[start + column]);
}

/** The least squares answer (c + damping · w) (A + damping · I)⁻¹ = (c + damping · w) Uᵀ U */
function answersOf(
  problem: RoundingProblem,
  row: number,
  order: readonly number[],
  factor: Float64Array,
  added: number,
): Float64Array {
  const n = order.length;
  const { cross } = problem.moments;
  const right = weightsOf(problem, row, order).map((w, i) => cross[row * n + order[i]] + added * w);
  const half = new Float64Array(n);
  for (let i = 0; i < n; i++) for (let j = i; j < n; j++) half[i] += factor[i * n + j] * right[j];
  const answers = new Float64Array(n);
  for (let i = 0; i < n; i++) for (let j = i; j < n; j++) answers[j] += factor[i * n + j] * half[i];
  return answers;
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
