import { describe, expect, test } from "vitest";
import { tensorOf } from "../ir/tensor.ts";
import { buildOn } from "../ops/infer.ts";
import { sampleLayouts, toBatch, toSamples } from "./sample-layout.ts";

/** [N, 2, 3], then with samples along the second axis, and two rows of each along the first. */
function reshaped() {
  const build = buildOn();
  const x = build.input("x", { dtype: "float32", shape: ["N", 2, 3] });
  build.node("Transpose", [x], { perm: [1, 0, 2] }, "second");
  build.node("Reshape", [x, build.ints([-1, 3])], {}, "rows");
  build.node("ReduceSum", [x], { keepdims: 0 }, "sum");
  return build.graph(["second", "rows", "sum"]);
}

const counted = (shape: readonly number[]) =>
  tensorOf(
    "float32",
    shape,
    Array.from({ length: shape.reduce((a, b) => a * b, 1) }, (_, i) => i),
  );

describe("samples of a value", () => {
  test("are found along the axis that grows with the batch", () => {
    expect(sampleLayouts(reshaped(), ["x", "second", "rows"])).toEqual(
      new Map([
        ["x", { axis: 0, shape: [1, 2, 3] }],
        ["second", { axis: 1, shape: [2, 1, 3] }],
        ["rows", { axis: 0, shape: [2, 3] }],
      ]),
    );
  });

  test("are refused where none does", () => {
    expect(() => sampleLayouts(reshaped(), ["sum"])).toThrow(
      'Value "sum" is [] for one sample and [] for two; expected one axis of twice the size.',
    );
  });

  test("are taken apart and put together again", () => {
    const layout = { axis: 1, shape: [2, 1, 3] };
    const batch = counted([2, 4, 3]);
    const samples = toSamples(batch, layout);
    expect(samples.shape).toEqual([4, 2, 1, 3]);
    expect([...(samples.data as Float32Array)].slice(0, 12)).toEqual([0, 1, 2, 12, 13, 14, 3, 4, 5, 15, 16, 17]);
    expect(toBatch(samples, layout)).toEqual(batch);
    const rows = { axis: 0, shape: [2, 3] };
    expect(toBatch(toSamples(counted([8, 3]), rows), rows)).toEqual(counted([8, 3]));
  });
});
