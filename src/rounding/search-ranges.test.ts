import { describe, expect, test } from "vitest";
import { multiply } from "../../test/support/moments.ts";
import { createRandom } from "../../test/support/random.ts";
import { roundHalfToEven } from "../ir/round.ts";
import { anyScale, powersOfTwo, type RangeProblem, type RangeSearch, searchRanges } from "./search-ranges.ts";

/** By output: what enters and what should come out, sample after sample. */
interface Samples {
  readonly xs: readonly (readonly number[])[];
  readonly ts: readonly (readonly number[])[];
}

interface Case {
  readonly problem: RangeProblem;
  /** By group of the layer. */
  readonly samples: readonly Samples[];
}

interface Scaling {
  readonly scales: number;
  readonly scaleOf: (row: number, column: number) => number;
  readonly asymmetric?: boolean;
}

const [groups, rows, columns] = [2, 3, 6];

function caseOf({ scales: count, scaleOf, asymmetric = false }: Scaling): Case {
  const random = createRandom(7);
  const size = groups * rows * columns;
  const at = Array.from({ length: size }, (_, i) => scaleOf(Math.floor(i / columns), i % columns));
  const scales = Float64Array.from({ length: count }, () => random.uniform(0.2, 0.3));
  // A weight far out in every row stretches its range.
  const weights = Float64Array.from({ length: size }, (_, i) => (i % columns === 2 ? 1.6 : 0.35 * random.normal()));
  const samples = Array.from({ length: groups }, (_, group) => {
    const xs = Array.from({ length: 30 }, () => {
      const common = random.normal();
      return Array.from({ length: columns }, (_, i) => (i === 2 ? 0.2 : 1) * (random.normal() + common));
    });
    const ts = xs.map((x) =>
      Array.from({ length: rows }, (_, row) => {
        const start = (group * rows + row) * columns;
        return x.reduce((sum, value, i) => sum + value * weights[start + i], 0.1 * random.normal());
      }),
    );
    return { xs, ts };
  });
  const inputs = samples.flatMap(({ xs }) =>
    Array.from({ length: columns ** 2 }, (_, i) =>
      xs.reduce((sum, x) => sum + x[Math.floor(i / columns)] * x[i % columns], 0),
    ),
  );
  const cross = samples.flatMap(({ xs, ts }) =>
    Array.from({ length: rows * columns }, (_, i) =>
      xs.reduce((sum, x, sample) => sum + ts[sample][Math.floor(i / columns)] * x[i % columns], 0),
    ),
  );
  const scale = Float64Array.from(at, (index) => scales[index]);
  const form = { groups, rows, columns, isTransposed: false, shape: [groups * rows, columns] };
  const problem = {
    dtype: "float64" as const,
    form,
    weights,
    quotients: weights.map((w, i) => w / scale[i]),
    scales,
    scaleOf: Float64Array.from(at),
    grid: {
      scale,
      zeroPoint: new Float64Array(size).fill(asymmetric ? 3 : 0),
      ...(asymmetric ? { low: 0, high: 7 } : { low: -3, high: 3 }),
    },
    moments: {
      form,
      count: 30,
      inputs: Float64Array.from(inputs),
      cross: Float64Array.from(cross),
      targets: new Float64Array(groups * rows),
    },
    factors: Float64Array.from({ length: groups * rows }, () => random.uniform(0.5, 2)),
  };
  return { problem, samples };
}

/** Of all outputs for all samples, as the normalization weighs them, with weights rounded to nearest by these scales. */
function errorWith({ problem, samples }: Case, scales: ArrayLike<number>): number {
  const { weights, scaleOf, grid, factors } = problem;
  const rounded = Array.from(weights, (w, i) => {
    const s = scales[scaleOf[i]];
    const q = roundHalfToEven(w / s) + grid.zeroPoint[i];
    return (Math.min(grid.high, Math.max(grid.low, q)) - grid.zeroPoint[i]) * s;
  });
  let error = 0;
  for (let row = 0; row < groups * rows; row++) {
    const { xs, ts } = samples[Math.floor(row / rows)];
    xs.forEach((x, sample) => {
      const y = x.reduce((sum, value, i) => sum + value * rounded[row * columns + i], 0);
      error += factors[row] ** 2 * (y - ts[sample][row % rows]) ** 2;
    });
  }
  return error;
}

/** Every factor of every scale in turn, by the error over the samples. */
function plainly(given: Case, { coarse, fine }: RangeSearch): number[] {
  const scales = Array.from(given.problem.scales);
  scales.forEach((scale, index) => {
    const errorOf = (factor: number): number => errorWith(given, scales.with(index, scale * factor));
    const best = (factors: readonly number[]): number =>
      factors.reduce((least, factor) => (errorOf(factor) < errorOf(least) - 1e-9 ? factor : least));
    const rough = best(coarse);
    scales[index] = scale * best([rough, ...fine.map((step) => step * rough)]);
  });
  return scales;
}

const perRow: Scaling = { scales: groups * rows, scaleOf: (row) => row };
const cases: Readonly<Record<string, Scaling>> = {
  "a scale per row": perRow,
  "a scale per row and zero points": { ...perRow, asymmetric: true },
  "two groups of inputs": { scales: 2 * groups * rows, scaleOf: (row, column) => 2 * row + Math.floor(column / 3) },
  "one scale for all": { scales: 1, scaleOf: () => 0 },
  "a scale per input": { scales: columns, scaleOf: (_, column) => column },
};

describe("weight ranges by the error of the output", () => {
  test.each(Object.entries(cases))("%s: as found from the samples themselves", async (_, scaling) => {
    const given = caseOf(scaling);
    const found = await searchRanges(given.problem, anyScale, multiply);
    expect(Array.from(found)).toEqual(plainly(given, anyScale));
    expect(errorWith(given, found)).toBeLessThan(0.95 * errorWith(given, given.problem.scales));
  });

  test("comes near the best of a thousand factors of each row's scale", async () => {
    const given = caseOf(perRow);
    const factors = Array.from({ length: 1000 }, (_, i) => 0.4 + i / 1000);
    const best = Array.from(given.problem.scales).map((scale, row) =>
      Math.min(
        ...factors.map((factor) => errorWith(given, Array.from(given.problem.scales).with(row, factor * scale))),
      ),
    );
    const all = errorWith(given, given.problem.scales);
    const least = best.reduce((sum, error) => sum + error - all, all);
    expect(errorWith(given, await searchRanges(given.problem, anyScale, multiply))).toBeLessThan(1.2 * least);
  });

  test("scales that are powers of two stay so", async () => {
    const given = caseOf(perRow);
    const scales = given.problem.scales.map(() => 0.25);
    const grid = { ...given.problem.grid, scale: given.problem.grid.scale.map(() => 0.25) };
    const problem = { ...given.problem, scales, grid, quotients: given.problem.weights.map((w) => w / 0.25) };
    const found = await searchRanges(problem, powersOfTwo, multiply);
    expect(Array.from(found)).toEqual(plainly({ ...given, problem }, powersOfTwo));
    for (const scale of found) expect(Number.isInteger(Math.log2(scale))).toBe(true);
    expect(found).not.toEqual(scales);
  });

  test("moments that overflowed leave the scales as they are", async () => {
    const { problem } = caseOf(perRow);
    const inputs = problem.moments.inputs.map(() => Number.POSITIVE_INFINITY);
    const found = await searchRanges({ ...problem, moments: { ...problem.moments, inputs } }, anyScale, multiply);
    expect(found).toEqual(problem.scales);
  });
});
