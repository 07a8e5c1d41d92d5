import { describe, expect, test } from "vitest";
import { createReferenceEngine } from "../engines/reference/reference-engine.ts";
import type { Graph } from "../ir/graph.ts";
import { tensorOf, toNumbers } from "../ir/tensor.ts";
import { buildOn } from "../ops/infer.ts";
import { foldConstants } from "./fold-constants.ts";

/** x reshaped by arithmetic on its own shape, times a constant that is computed. */
function computed(batch: number | string): Graph {
  const build = buildOn();
  const x = build.input("x", { dtype: "float32", shape: [batch, 2, 3] });
  const head = build.node("Slice", [build.node("Shape", [x]), build.ints([0]), build.ints([1])]);
  const target = build.node("Concat", [head, build.ints([-1])], { axis: 0 }, "target");
  const flat = build.node("Reshape", [x, target], {}, "flat");
  const factor = build.node("Exp", [build.constant(tensorOf("float32", [], [0]))], {}, "factor");
  return build.graph([build.node("Mul", [flat, factor], {}, "y")]);
}

const run = async (graph: Graph): Promise<number[]> => {
  const engine = createReferenceEngine();
  const program = (await engine.compile(graph)).bind(await engine.variables(new Map()));
  const outputs = await program.run(new Map([["x", tensorOf("float32", [1, 2, 3], [1, 2, 3, 4, 5, 6])]]));
  return toNumbers(outputs.get("y") ?? tensorOf("float32", [0], []));
};

describe("foldConstants", () => {
  test("computes shapes that are static and nodes of constants", async () => {
    const graph = computed(1);
    const folded = foldConstants(graph);
    expect(folded.nodes.map(({ op }) => op)).toEqual(["Reshape", "Mul"]);
    expect(folded.constants.get("target")).toEqual(tensorOf("int64", [2], [1, -1]));
    expect(toNumbers(folded.constants.get("factor") ?? tensorOf("float32", [0], []))).toEqual([1]);
    expect(await run(folded)).toEqual(await run(graph));
  });

  test("leaves shapes that are symbolic to the run", async () => {
    const folded = foldConstants(computed("batch"));
    expect(folded.nodes.map(({ op }) => op)).toEqual(["Shape", "Slice", "Concat", "Reshape", "Mul"]);
    expect(await run(folded)).toEqual([1, 2, 3, 4, 5, 6]);
  });

  test("infers again what follows from what it computed", () => {
    const build = buildOn();
    const x = build.input("x", { dtype: "float32", shape: ["N", 3, 8, 8] });
    // As PyTorch exports ZeroPad2d: pads last axis first, filled up with zeros, reversed by pairs.
    const given = build.constant(tensorOf("int64", [4], [0, 1, 0, 1]), "given");
    const zeros = build.node("ConstantOfShape", [build.ints([4])], { value: tensorOf("int64", [1], [0]) });
    const pairs = build.node("Reshape", [build.node("Concat", [given, zeros], { axis: 0 }), build.ints([-1, 2])]);
    const [from, to, axis, step] = [[-1], [-(2 ** 31)], [0], [-1]].map((list) => build.ints(list));
    const reversed = build.node("Slice", [pairs, from, to, axis, step]);
    const pads = build.node("Reshape", [build.node("Transpose", [reversed], { perm: [1, 0] }), build.ints([-1])]);
    const padded = build.node("Pad", [x, pads], {}, "padded");
    const w = build.constant(tensorOf("float32", [2, 3, 3, 3], new Array<number>(54).fill(1)));
    const y = build.node("Conv", [padded, w], { strides: [2, 2] }, "y");
    const { values, nodes } = foldConstants(build.graph([y]));
    expect(nodes.map(({ op }) => op)).toEqual(["Pad", "Conv"]);
    expect(values.get("padded")?.shape).toEqual(["N", 3, 9, 9]);
    expect(values.get("y")?.shape).toEqual(["N", 2, 4, 4]);
  });

  test("leaves quantized weights as they are stored", () => {
    const build = buildOn();
    const weight = build.constant(tensorOf("int8", [2], [1, -1]));
    const scale = build.constant(tensorOf("float32", [], [0.5]));
    const x = build.input("x", { dtype: "float32", shape: [2] });
    const y = build.node("Add", [x, build.node("DequantizeLinear", [weight, scale])]);
    expect(foldConstants(build.graph([y])).nodes.map(({ op }) => op)).toEqual(["DequantizeLinear", "Add"]);
  });

  test("leaves results above 64 MB and the graph's outputs to the run", () => {
    const build = buildOn();
    const large = build.node("ConstantOfShape", [build.ints([5000, 5000])], {}, "large");
    const small = build.node("ConstantOfShape", [build.ints([2])], {}, "small");
    const x = build.input("x", { dtype: "float32", shape: [5000] });
    const folded = foldConstants(build.graph([build.node("Add", [x, large]), small]));
    expect(folded.nodes.map(({ op }) => op)).toEqual(["ConstantOfShape", "ConstantOfShape", "Add"]);
  });

  test("leaves what is large beside the graph's constants to the run", () => {
    const build = buildOn();
    const x = build.input("x", { dtype: "float32", shape: [1] });
    const large = build.node("ConstantOfShape", [build.ints([3000, 3000])], {}, "large");
    const slow = build.node("ConstantOfShape", [build.ints([800, 800])], {}, "slow");
    const product = build.node("MatMul", [slow, slow], {}, "product");
    const sum = build.node("ReduceMax", [large, build.ints([0, 1])], { keepdims: 0 });
    const folded = foldConstants(build.graph([build.node("Add", [build.node("Add", [x, sum]), product], {}, "y")]));
    expect([...folded.constants.keys()]).toContain("slow");
    expect(folded.nodes.map(({ outputs }) => outputs[0])).toEqual(expect.arrayContaining(["large", "product"]));
  });
});
