// GPTQ (arXiv:2210.17323): weights are rounded one input after the other, and what is lost is made up for by those not yet rounded.
import { roundHalfToEven } from "../../ir/round.ts";
import { clampTo } from "../second-moments/grid.ts";
import type { RoundingProblem } from "../second-moments/round-layers.ts";
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
  { form, quotients, grid, moments }: RoundingProblem,
  group: number,
  { actOrder, damping }: GptqOptions,
  integers: Float64Array,
): void {
  const { rows, columns } = form;
  const size = columns * columns;
  const moment = moments.inputs.subarray(group * size, (group + 1) * size);
  const order = orderOf(moment, columns, actOrder);
  const factor = inverseFactor(damped(moment, order, damping), columns);
  const rest = new Float64Array(columns);
  for (let row = group * rows; row < (group + 1) * rows; row++) {
    const start = row * columns;
    order.forEach((column, i) => {
      rest[i] = quotients[start + column] * grid.scale[start + column];
    });
    for (let i = 0; i < columns; i++) {
      const at = start + order[i];
      const q = clampTo(grid, roundHalfToEven(rest[i] / grid.scale[at]) + grid.zeroPoint[at]);
      integers[at] = q;
      const error = (rest[i] - (q - grid.zeroPoint[at]) * grid.scale[at]) / factor[i * columns + i];
      for (let j = i; j < columns; j++) rest[j] -= error * factor[i * columns + j];
    }
  }
}

/** The columns in the order in which they are rounded. */
function orderOf(moment: Float64Array, columns: number, actOrder: boolean): readonly number[] {
  const natural = Array.from({ length: columns }, (_, i) => i);
  const diagonal = (i: number): number => moment[i * columns + i];
  return actOrder ? natural.sort((i, j) => diagonal(j) - diagonal(i)) : natural;
}

/** H = A + damping · mean(diag A) · I in the order given; the moments of inputs that are always 0 are as good as any. */
function damped(moment: Float64Array, order: readonly number[], damping: number): Float64Array {
  const n = order.length;
  const mean = order.reduce((sum, i) => sum + moment[i * n + i], 0) / n || 1;
  const result = new Float64Array(n * n);
  order.forEach((i, row) => {
    order.forEach((j, column) => {
      result[row * n + column] = moment[i * n + j] + (row === column ? damping * mean : 0);
    });
  });
  return result;
}
