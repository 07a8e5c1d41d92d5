import { describe, expect, test } from "vitest";
import { tensorOf } from "../ir/tensor.ts";
import { buildOn } from "../ops/infer.ts";
import { histogramOf, rangesOf } from "./histogram.ts";
import { insertQuantizers } from "./insert.ts";
import { quantizersOf } from "./quantizer.ts";

describe("histogramOf", () => {
  test("counts every value once, the largest in the last bin", () => {
    const values = tensorOf(
      "float32",
      [97],
      Array.from({ length: 97 }, (_, i) => i),
    );
    const { min, max, counts } = histogramOf(values);
    expect([min, max, counts.length]).toEqual([0, 96, 48]);
    expect(counts).toEqual([...new Array<number>(47).fill(2), 3]);
  });

  test("equal values are in one bin, and what is not finite in none", () => {
    const { min, max, counts } = histogramOf(tensorOf("float32", [4], [2, 2, Number.NaN, Number.POSITIVE_INFINITY]));
    expect([min, max, counts.reduce((a, b) => a + b, 0)]).toEqual([2, 2, 2]);
    expect(histogramOf(tensorOf("float32", [1], [Number.NaN]))).toMatchObject({ min: 0, max: 0 });
  });

  test("a range per channel: the widest, the narrowest, and what each clips", () => {
    const values = tensorOf("float32", [2, 3], [1, -1, 4, 1, -1, 4]);
    const ranges = [
      { low: -3, high: 3, scale: 1 },
      { low: -30, high: 30, scale: 10 },
    ];
    expect(histogramOf(values, { granularity: { axis: 0 }, shape: [2], ranges }).range).toEqual({
      widest: { low: -30, high: 30 },
      narrowest: { low: -3, high: 3 },
      clipped: 1 / 6,
    });
  });

  test("values within half a step of the range are rounded, not clipped", () => {
    const ranges = [{ low: 0, high: 3, scale: 1 }];
    const clipped = (value: number) =>
      histogramOf(tensorOf("float32", [1], [value]), { granularity: "tensor", shape: [], ranges }).range?.clipped;
    expect([-0.4, 3.4, 3.6, -0.6].map(clipped)).toEqual([0, 0, 1, 1]);
  });
});

test("a quantizer's range is its integers without the zero point, times the scale", () => {
  const build = buildOn();
  const x = build.input("x", { dtype: "float32", shape: ["N", 2] });
  const y = build.node("MatMul", [x, build.constant(tensorOf("float32", [2, 1], [1, 2]), "w")], {}, "y");
  const graph = build.graph([y]);
  const site = {
    name: "y.input",
    value: "x",
    readers: ["y"],
    bits: 4,
    symmetric: false,
    granularity: "tensor",
  } as const;
  const qparams = { scale: tensorOf("float32", [], [0.5]), zeroPoint: tensorOf("float32", [], [5]) };
  const quantized = insertQuantizers(graph, { weights: [], activations: [site] }, new Map([["y.input", qparams]]));
  expect(rangesOf(quantized, quantizersOf(quantized)[0])).toEqual({
    granularity: "tensor",
    shape: [],
    ranges: [{ low: -2.5, high: 5, scale: 0.5 }],
  });
});
