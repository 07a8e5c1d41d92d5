import { describe, expect, it } from "vitest";
import { tensorOf } from "../../src/ir/tensor.ts";
import { expectClose, sqnr } from "./close.ts";
import { bfloat16ToNumber, float16ToNumber } from "./half-bits.ts";

describe("expectClose", () => {
  const expected = tensorOf("float32", [2, 2], [1, 2, 3, 4]);

  it("accepts rounding errors of the dtype", () => {
    expectClose(tensorOf("float32", [2, 2], [1, 2, 3.000001, 4]), expected);
    expectClose([Number.NaN, Number.POSITIVE_INFINITY], [Number.NaN, Number.POSITIVE_INFINITY]);
  });

  it("names the worst element, both values and the SQNR", () => {
    expect(() => expectClose(tensorOf("float32", [2, 2], [1, 2.5, 3, 3]), expected, { what: "y" })).toThrow(
      /y: worst element \[1, 1\] is 3, expected 4 .*float32 tolerance.*SQNR 13\.8 dB/,
    );
    expect(() => expectClose([Number.NaN], [0])).toThrow("is NaN, expected 0");
    expect(() => expectClose([0], [Number.NaN])).toThrow("is 0, expected NaN");
  });

  it("widens only for a reason", () => {
    const actual = tensorOf("float32", [2, 2], [1, 2, 3.00005, 4]);
    expect(() => expectClose(actual, expected)).toThrow("worst element");
    expectClose(actual, expected, { widen: { factor: 10, because: "the test shows it" } });
  });

  it("wants the same shape, dtype and exact integers", () => {
    expect(() => expectClose(tensorOf("float32", [4], [1, 2, 3, 4]), expected)).toThrow("shape");
    expect(() => expectClose(tensorOf("float64", [2, 2], [1, 2, 3, 4]), expected)).toThrow("dtype");
    expect(() => expectClose(tensorOf("int8", [1], [3]), tensorOf("int8", [1], [4]))).toThrow("worst element");
  });
});

it("sqnr is 20 dB for an error of a tenth", () => {
  expect(sqnr([1.1], [1])).toBeCloseTo(20, 6);
  expect(sqnr([1], [1])).toBe(Number.POSITIVE_INFINITY);
});

it("reads the bits of half-precision numbers", () => {
  expect([0x3c00, 0xc000, 0x0001, 0x7c00].map(float16ToNumber)).toEqual([1, -2, 2 ** -24, Number.POSITIVE_INFINITY]);
  expect([0x3f80, 0xc040].map(bfloat16ToNumber)).toEqual([1, -3]);
});
