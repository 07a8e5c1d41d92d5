import { describe, expect, test } from "vitest";
import { expectClose } from "../../../test/support/close.ts";
import { errorsByRow, multiply } from "../../../test/support/moments.ts";
import { createRandom } from "../../../test/support/random.ts";
import { roundHalfToEven } from "../../ir/round.ts";
import { clampTo, dequantize } from "../../rounding/grid.ts";
import type { RoundingProblem } from "../../rounding/problem.ts";
import { inverseFactor } from "./cholesky.ts";
import { gptq } from "./gptq.ts";
import type { GptqOptions } from "./options.ts";

/** Inputs of which some are alike, and one is always 0. */
function problemOf(groups: number, rows: number, columns: number, reach = 3.6): RoundingProblem {
  const random = createRandom(11);
  const size = groups * rows * columns;
  const inputs = new Float64Array(groups * columns * columns);
  for (let group = 0; group < groups; group++)
    for (let sample = 0; sample < 40; sample++) {
      const common = random.normal();
      const x = Array.from({ length: columns }, (_, i) => (i === 1 ? 0 : (1 + i / 3) * (random.normal() + common)));
      x.forEach((a, i) => {
        x.forEach((b, j) => {
          inputs[(group * columns + i) * columns + j] += a * b;
        });
      });
    }
  const scale = Float64Array.from({ length: size }, (_, i) => 0.1 + 0.05 * (Math.floor(i / columns) % 3));
  const quotients = Float64Array.from({ length: size }, () => random.uniform(-reach, reach));
  const weight = quotients.map((quotient, i) => quotient * scale[i]);
  const cross = new Float64Array(size);
  for (let at = 0; at < size; at++) {
    const row = Math.floor(at / columns);
    const a = Math.floor(row / rows) * columns * columns;
    for (let k = 0; k < columns; k++) cross[at] += weight[row * columns + k] * inputs[a + k * columns + (at % columns)];
  }
  const targets = Float64Array.from({ length: groups * rows }, (_, row) => {
    let sum = 0;
    for (let i = 0; i < columns; i++) sum += weight[row * columns + i] * cross[row * columns + i];
    return sum;
  });
  const form = { groups, rows, columns, isTransposed: false, shape: [groups * rows, columns] };
  return {
    dtype: "float64",
    form,
    quotients,
    grid: { scale, zeroPoint: new Float64Array(size), low: -3, high: 3 },
    moments: { form, count: 40, inputs, cross, targets },
    factors: new Float64Array(groups * rows).fill(1),
  };
}

/** Solves the symmetric system by elimination. */
function solve(matrix: readonly (readonly number[])[], right: readonly number[]): number[] {
  const rows = matrix.map((row, i) => [...row, right[i]]);
  const n = rows.length;
  for (let i = 0; i < n; i++)
    for (let j = i + 1; j < n; j++) {
      const factor = rows[j][i] / rows[i][i];
      for (let k = i; k <= n; k++) rows[j][k] -= factor * rows[i][k];
    }
  const x = new Array<number>(n).fill(0);
  for (let i = n - 1; i >= 0; i--)
    x[i] = (rows[i][n] - x.reduce((sum, value, k) => (k > i ? sum + rows[i][k] * value : sum), 0)) / rows[i][i];
  return x;
}

/** One column after the other, the rest each time the least squares answer to what is rounded so far. */
function plainly({ form, quotients, grid, moments }: RoundingProblem, options: GptqOptions): number[] {
  const { roundingOrder, damping, reconstruct } = options;
  const { groups, rows, columns } = form;
  const result = new Array<number>(quotients.length).fill(0);
  for (let row = 0; row < groups * rows; row++) {
    const at = Math.floor(row / rows) * columns * columns;
    const a = (i: number, j: number): number => moments.inputs[at + i * columns + j];
    const mean = Array.from({ length: columns }, (_, i) => a(i, i)).reduce((sum, value) => sum + value, 0) / columns;
    const h = (i: number, j: number): number => a(i, j) + (i === j ? damping * mean : 0);
    const order = Array.from({ length: columns }, (_, i) => i);
    if (roundingOrder === "activations") order.sort((i, j) => a(j, j) - a(i, i));
    const given = Array.from(
      { length: columns },
      (_, i) => quotients[row * columns + i] * grid.scale[row * columns + i],
    );
    const columnsInOrder = given.map((_, column) => column);
    const weight =
      reconstruct === "weights"
        ? given
        : solve(
            columnsInOrder.map((k) => columnsInOrder.map((l) => h(k, l))),
            given.map((w, column) => moments.cross[row * columns + column] + damping * mean * w),
          );
    const lost = new Array<number>(columns).fill(0);
    order.forEach((column, done) => {
      const open = order.slice(done);
      const fixed = order.slice(0, done);
      const moved = solve(
        open.map((i) => open.map((j) => h(i, j))),
        open.map((i) => -fixed.reduce((sum, j) => sum + h(i, j) * lost[j], 0)),
      );
      const index = row * columns + column;
      const q = clampTo(grid, roundHalfToEven((weight[column] + moved[0]) / grid.scale[index]));
      result[index] = q;
      lost[column] = q * grid.scale[index] - weight[column];
    });
  }
  return result;
}

describe("GPTQ", () => {
  test.each([6, 150])("Uᵀ U is the inverse, %d inputs", async (n) => {
    const { moments } = problemOf(1, 1, n);
    const a = moments.inputs.map((value, i) => value + (i % (n + 1) === 0 ? 1 : 0));
    const u = await inverseFactor(a, n, multiply);
    const square = { groups: 1, rows: n, inner: n, columns: n };
    const turned = u.map((_, at) => u[(at % n) * n + Math.floor(at / n)]);
    const product = await multiply(await multiply(turned, u, square), a, square);
    expectClose(
      product,
      product.map((_, at) => Number(at % (n + 1) === 0)),
      { widen: { factor: 1000, because: "a product of three matrices" } },
    );
    expect(u.every((value, at) => at % n >= Math.floor(at / n) || value === 0)).toBe(true);
  });

  test.each([
    ["activations", 0.01, "weights"],
    ["natural", 0.01, "weights"],
    ["activations", 0.3, "weights"],
    ["activations", 0.1, "outputs"],
  ] as const)("rounds as least squares says, order %s, damping %d, %s", async (roundingOrder, damping, reconstruct) => {
    const alike = problemOf(2, 4, 9);
    const random = createRandom(12);
    const cross = alike.moments.cross.map((value) => value + 3 * random.normal());
    const problem = { ...alike, moments: { ...alike.moments, cross } };
    expect(Array.from(await gptq(problem, { roundingOrder, damping, reconstruct }, multiply), (q) => q + 0)).toEqual(
      plainly(problem, { roundingOrder, damping, reconstruct }).map((q) => q + 0),
    );
  });

  test.each(["weights", "outputs"] as const)("of more inputs than a block has, %s", async (reconstruct) => {
    const problem = problemOf(1, 2, 140);
    const settings = { roundingOrder: "activations", damping: 0.1, reconstruct } as const;
    const found = await gptq(problem, settings, multiply);
    expect(Array.from(found, (q) => q + 0)).toEqual(plainly(problem, settings).map((q) => q + 0));
  });

  test("comes near the best of all integers", async () => {
    const problem = problemOf(1, 40, 5, 2.5);
    const errors = errorsByRow(
      problem.moments,
      dequantize(
        problem.grid,
        await gptq(problem, { roundingOrder: "activations", damping: 0.01, reconstruct: "weights" }, multiply),
      ),
    );
    const nearest = errorsByRow(
      problem.moments,
      dequantize(
        problem.grid,
        problem.quotients.map((q) => clampTo(problem.grid, Math.round(q))),
      ),
    );
    const best = bestOfAll(problem);
    const sum = (values: ArrayLike<number>): number => Array.from(values).reduce((a, b) => a + b, 0);
    errors.forEach((error, row) => {
      expect(error).toBeGreaterThanOrEqual(best[row] - 1e-9);
    });
    expect(sum(errors)).toBeLessThan(1.1 * sum(best));
    expect(sum(nearest)).toBeGreaterThan(1.5 * sum(best));
  });
});

/** By row: the least error of all integers. */
function bestOfAll({ form, grid, moments }: RoundingProblem): number[] {
  const { rows, columns } = form;
  const levels = grid.high - grid.low + 1;
  const best = new Array<number>(rows).fill(Number.POSITIVE_INFINITY);
  for (let code = 0; code < levels ** columns; code++) {
    const row = Float64Array.from({ length: columns }, (_, i) => grid.low + (Math.floor(code / levels ** i) % levels));
    const all = Float64Array.from({ length: rows * columns }, (_, i) => row[i % columns] * grid.scale[i]);
    errorsByRow(moments, all).forEach((error, i) => {
      best[i] = Math.min(best[i], error);
    });
  }
  return best;
}
