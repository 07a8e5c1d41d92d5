import { describe, expect, it } from "vitest";
import { checkGradients, checkRows } from "../../test/support/gradient-check.ts";
import { createRandom } from "../../test/support/random.ts";
import type { Tensor } from "../ir/tensor.ts";
import { kernels } from "../kernels/index.ts";
import { buildOn } from "./infer.ts";

const random = createRandom(4);
const double = (...shape: number[]): Tensor => random.tensor("float64", shape);
const options = { kernels };

describe("gradients of MatMul agree with finite differences", () => {
  it.each([
    ["matrices", [5, 7], [7, 6]],
    ["batches", [3, 5, 7], [3, 7, 6]],
    ["a matrix for the whole batch", [2, 3, 5, 7], [7, 6]],
    ["batches broadcast against each other", [2, 1, 5, 7], [3, 7, 4]],
    ["a row", [7], [7, 6]],
    ["a column", [2, 5, 7], [7]],
    ["two vectors", [7], [7]],
    ["a row against a batch", [7], [2, 7, 6]],
  ])("%s", (_name, a, b) => {
    checkGradients("MatMul", [double(...a), double(...b)], {}, options);
  });

  it("columns of the weight", () => {
    checkRows("MatMul", [double(5, 7), double(7, 6)], {}, { input: 1, axis: 1, rows: [5, 2] }, options);
    checkRows("MatMul", [double(2, 5, 7), double(7, 6)], {}, { input: 1, axis: 1, rows: [0] }, options);
    checkRows("MatMul", [double(5, 7), double(7, 6)], {}, { input: 1, axis: 1, rows: [] }, options);
    checkRows("MatMul", [double(2, 5, 7), double(2, 7, 6)], {}, { input: 1, axis: 1, rows: [6, 0] }, options);
  });
});

describe("gradients of Gemm agree with finite differences", () => {
  const transposes = [0, 1].flatMap((transA) => [0, 1].map((transB) => ({ transA, transB, alpha: 0.5, beta: 2 })));

  it.each(transposes)("%o", (attributes) => {
    const a = attributes.transA ? double(7, 5) : double(5, 7);
    const b = attributes.transB ? double(6, 7) : double(7, 6);
    checkGradients("Gemm", [a, b, double(6)], attributes, options);
    checkRows("Gemm", [a, b], attributes, { input: 1, axis: attributes.transB ? 0 : 1, rows: [3, 0] }, options);
  });
});

describe("inference of products", () => {
  it("keeps a symbolic batch", () => {
    const build = buildOn();
    const x = build.input("x", { dtype: "float32", shape: ["batch", "length", 64] });
    expect(build.type(build.node("MatMul", [x, build.constant(random.tensor("float32", [64, 10]))])).shape).toEqual([
      "batch",
      "length",
      10,
    ]);
  });

  it("refuses inner sizes that differ", () => {
    const build = buildOn();
    const a = build.input("a", { dtype: "float32", shape: [8, 128, 768] });
    const b = build.input("b", { dtype: "float32", shape: [512, 768] });
    expect(() => build.node("MatMul", [a, b], {}, "/q")).toThrow(
      'MatMul (node "/q"): cannot multiply [8, 128, 768] by [512, 768]; inner sizes 768 and 512 differ.',
    );
  });
});
