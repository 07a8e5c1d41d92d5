import { describe, expect, test } from "vitest";
import { bfloat16ToNumber, float16ToNumber } from "../../test/support/half-bits.ts";
import { type HalfType, narrowTensor, widenTensor } from "./half.ts";
import { tensorOf } from "./tensor.ts";

const allBits = Uint16Array.from({ length: 2 ** 16 }, (_, i) => i);

describe.each<[HalfType, (bits: number) => number]>([
  ["float16", float16ToNumber],
  ["bfloat16", bfloat16ToNumber],
])("%s", (dtype, numberOf) => {
  const all = { dtype, shape: [2 ** 16], data: allBits };

  test("every one of its numbers widens to itself and comes back", () => {
    const wide = widenTensor(all);
    expect(wide.dtype).toBe("float32");
    expect(Array.from(wide.data as Float32Array)).toEqual(Array.from(allBits, numberOf));
    const back = narrowTensor(wide, dtype).data as Uint16Array;
    const differ = allBits.filter((bits) => back[bits] !== bits && !Number.isNaN(numberOf(bits)));
    expect(Array.from(differ)).toEqual([]);
  });

  test("a number between two of its numbers rounds to the nearer, ties to even", () => {
    const finite = Array.from(allBits.subarray(0, 2 ** 15 - 1)).filter((bits) => Number.isFinite(numberOf(bits + 1)));
    const between = (share: number): number[] => {
      const values = finite.map((bits) => numberOf(bits) + (numberOf(bits + 1) - numberOf(bits)) * share);
      return Array.from(narrowTensor(tensorOf("float64", [values.length], values), dtype).data as Uint16Array);
    };
    expect(between(0.25)).toEqual(finite);
    expect(between(0.5)).toEqual(finite.map((bits) => bits + (bits % 2)));
    expect(between(0.75)).toEqual(finite.map((bits) => bits + 1));
    const from32 = (share: number): number[] => {
      const values = finite.map((bits) => numberOf(bits) + (numberOf(bits + 1) - numberOf(bits)) * share);
      return Array.from(narrowTensor(tensorOf("float32", [values.length], values), dtype).data as Uint16Array);
    };
    for (const share of dtype === "float16" ? [0.25, 0.5, 0.75] : [0.5]) expect(from32(share)).toEqual(between(share));
  });

  test("numbers that are too large become infinite, and NaN stays NaN", () => {
    const wide = widenTensor(narrowTensor(tensorOf("float64", [3], [1e39, -1e39, Number.NaN]), dtype));
    expect(Array.from(wide.data as Float32Array)).toEqual([
      Number.POSITIVE_INFINITY,
      Number.NEGATIVE_INFINITY,
      Number.NaN,
    ]);
  });
});
