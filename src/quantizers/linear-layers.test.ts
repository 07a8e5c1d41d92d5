import { describe, expect, test } from "vitest";
import { tensorOf } from "../ir/tensor.ts";
import { buildOn } from "../ops/infer.ts";
import { layersByWeight, linearLayers } from "./linear-layers.ts";

const square = tensorOf("float32", [2, 2], [1, 2, 3, 4]);

describe("linearLayers", () => {
  test("names each layer once, whatever weights and nodes are called", () => {
    const build = buildOn();
    const x = build.input("x", { dtype: "float32", shape: ["N", 2] });
    const first = build.node("MatMul", [x, build.constant(square, "b.weight")], {}, "a");
    const second = build.node("MatMul", [first, build.constant(square, "w")], {}, "b");
    const third = build.node("MatMul", [second, build.constant(square, "c.weight")], {}, "c");
    const names = linearLayers(build.graph([third])).map(({ name }) => name);
    expect(names).toEqual(["b", "b_1", "c"]);
  });

  test("several layers may share a weight, along the same axis", () => {
    const build = buildOn();
    const x = build.input("x", { dtype: "float32", shape: ["N", 2] });
    const weight = build.constant(square, "shared.weight");
    const first = build.node("Gemm", [x, weight], { transB: 1 }, "first");
    const tied = build.node("Gemm", [first, weight], {}, "tied");
    const second = build.node("Gemm", [tied, weight], { transB: 1 }, "second");
    const graph = build.graph([second]);
    expect(linearLayers(graph).map(({ name, rowAxis }) => [name, rowAxis])).toEqual([
      ["shared", 0],
      ["second", 0],
    ]);
    expect(layersByWeight(graph).map(({ name }) => name)).toEqual(["shared"]);
  });
});
