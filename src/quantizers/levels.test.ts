import { describe, expect, test } from "vitest";
import { expectClose } from "../../test/support/close.ts";
import { createRandom } from "../../test/support/random.ts";
import { nearestLevel } from "../ir/nearest-level.ts";
import { numbersOf, type Tensor, tensorOf } from "../ir/tensor.ts";
import { codebookQparams, powerLevels, powerQparams } from "./levels.ts";
import type { Qparams } from "./qparams.ts";

const byRow = { granularity: { axis: 0 } } as const;

/** What the quantizer makes of each weight. */
function rounded(weight: Tensor, { scale, levels }: Qparams): Float64Array {
  const [scales, all] = [numbersOf(scale), numbersOf(levels ?? scale)];
  const columns = weight.shape[1];
  return Float64Array.from(numbersOf(weight), (w, i) => {
    const s = scales[Math.floor(i / columns)];
    return all[nearestLevel(all, w / s)] * s;
  });
}

const errorOf = (weight: Tensor, values: ArrayLike<number>, importance?: ArrayLike<number>): number =>
  Array.from(numbersOf(weight)).reduce((sum, w, i) => sum + (importance?.[i] ?? 1) * (w - values[i]) ** 2, 0);

/** Each row its own scale times entries of `table`. */
function onTable(table: readonly number[], rows: number, columns: number): Tensor {
  const random = createRandom(8);
  const values = Array.from({ length: rows * columns }, (_, i) => {
    const entry = table[i % columns < table.length ? i % columns : Math.floor(random.uniform() * table.length)];
    return entry * 0.1 * 1.7 ** Math.floor(i / columns);
  });
  return tensorOf("float32", [rows, columns], values);
}

describe("powers", () => {
  test("of exponent 1 are even, of exponent 1/2 squares", () => {
    expect(Array.from(powerLevels(1, 3), (level) => level + 0)).toEqual([-1, -2 / 3, -1 / 3, 0, 1 / 3, 2 / 3, 1]);
    const squares = Array.from({ length: 15 }, (_, i) => Math.sign(i - 7) * ((i - 7) / 7) ** 2);
    powerLevels(0.5, 4).forEach((level, i) => void expect(level).toBeCloseTo(squares[i], 12));
  });

  test.each([0.5, 1, 1.3])(
    "the exponent %d of weights that lie on its levels is found, with their scales",
    (exponent) => {
      const levels = powerLevels(exponent, 4);
      const weight = onTable([...levels], 5, 60);
      for (const observer of ["min-max", "mse", "lp"] as const) {
        const qparams = powerQparams(weight, { ...byRow, bits: 4 }, observer);
        expectClose(qparams.levels as Tensor, tensorOf("float32", [15], levels));
        expectClose(
          qparams.scale,
          tensorOf(
            "float32",
            [5],
            [0, 1, 2, 3, 4].map((row) => 0.1 * 1.7 ** row),
          ),
        );
      }
    },
  );
});

describe("codebooks", () => {
  test("weights of four values times a scale for each row are exact in 2 bits", () => {
    const weight = onTable([-1, -0.2, 0.35, 0.9], 6, 40);
    const values = rounded(weight, codebookQparams(weight, { ...byRow, bits: 2 }));
    numbersOf(weight).forEach((w, i) => void expect(values[i] / w).toBeCloseTo(1, 5));
  });

  test("one more step of k-means or of the scales does not lessen the error", () => {
    const weight = createRandom(3).tensor("float64", [4, 500]);
    const importance = Float64Array.from({ length: 2000 }, (_, i) => 1 + (i % 7));
    const { scale, levels } = codebookQparams(weight, { ...byRow, bits: 3 }, importance);
    const [s, t, w] = [numbersOf(scale), numbersOf(levels ?? scale), numbersOf(weight)];
    const error = errorOf(weight, rounded(weight, { scale, levels: levels as Tensor, zeroPoint: scale }), importance);
    for (const change of [0.999, 1.001]) {
      for (let k = 0; k < t.length; k++) {
        const moved = t.map((level, i) => (i === k ? level * change : level));
        const values = Float64Array.from(w, (each, i) => {
          const row = Math.floor(i / 500);
          return moved[nearestLevel(t, each / s[row])] * s[row];
        });
        expect(errorOf(weight, values, importance)).toBeGreaterThan(error * (1 - 1e-6));
      }
    }
  });

  test("weights that nothing is multiplied by do not count", () => {
    const random = createRandom(4);
    const table = [-1, -0.2, 0.35, 0.9];
    const weight = tensorOf(
      "float32",
      [1, 200],
      Array.from({ length: 200 }, (_, i) => (i % 2 ? random.normal() : table[(i / 2) % 4])),
    );
    const importance = Float64Array.from({ length: 200 }, (_, i) => Number(i % 2 === 0));
    const site = { ...byRow, bits: 2 };
    expect(errorOf(weight, rounded(weight, codebookQparams(weight, site, importance)), importance)).toBeLessThan(1e-9);
    expect(errorOf(weight, rounded(weight, codebookQparams(weight, site)), importance)).toBeGreaterThan(0.1);
  });

  test("fewer values than levels, zeros among them, are one level each", () => {
    const weight = tensorOf("float32", [2, 3], [0, 0, 0, 0.5, -0.5, 0]);
    const { levels, ...rest } = codebookQparams(weight, { ...byRow, bits: 4 });
    expect(new Set(levels?.data as Float32Array).size).toBe(levels?.shape[0]);
    expect(Array.from(rounded(weight, { levels: levels as Tensor, ...rest }))).toEqual([0, 0, 0, 0.5, -0.5, 0]);
  });
});
