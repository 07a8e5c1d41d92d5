import { describe, expect, test } from "vitest";
import { tensorOf } from "../ir/tensor.ts";
import { buildOn } from "../ops/infer.ts";
import { inspectModel } from "./inspect-model.ts";

const weight = (shape: readonly [number, number], scale = 1) =>
  tensorOf(
    "float32",
    shape,
    Array.from({ length: shape[0] * shape[1] }, (_, i) => (i % 2 === 0 ? scale : -3 * scale)),
  );

describe("inspectModel", () => {
  test("counts parameters, bytes and multiply-adds of one sample, and takes importance along the output channels", () => {
    const build = buildOn();
    const x = build.input("x", { dtype: "float32", shape: [8, 4] });
    const y = build.node("MatMul", [x, build.constant(weight([4, 6]), "w")], {}, "y");
    const inspection = inspectModel(build.graph([y]));
    expect(inspection).toMatchObject({
      parameters: 24,
      sizeBytes: 96,
      multiplyAdds: 24,
      alreadyQuantized: [],
      notQuantizable: [],
      notDifferentiable: [],
    });
    expect(inspection.layers).toEqual([
      {
        name: "y",
        node: "y",
        op: "MatMul",
        weightShape: [4, 6],
        parameters: 24,
        sizeBytes: 96,
        multiplyAdds: 24,
        importance: [1, 3, 1, 3, 1, 3],
        weights: { min: -3, max: 1, counts: [12, ...new Array<number>(46).fill(0), 12] },
        rounding: [8, 4, 2].map((bits) => ({ bits, sqnrDb: null })),
        canTrain: true,
      },
    ]);
  });

  test("names what is learned besides layers, and which methods train it", () => {
    const build = buildOn();
    const constant = (name: string, shape: readonly number[]): string =>
      build.constant(tensorOf("float32", shape, new Array<number>(shape.reduce((a, b) => a * b, 1)).fill(0.5)), name);
    const x = build.input("x", { dtype: "float32", shape: ["N", 3, 4] });
    const h = build.node("MatMul", [x, constant("layer.weight", [4, 4])], {}, "layer");
    const added = build.node("Add", [h, constant("positions", [1, 3, 4])]);
    const { learned } = inspectModel(build.graph([build.node("PRelu", [added, constant("slopes", [4])])]));
    expect(learned).toEqual([
      { name: "positions", shape: [1, 3, 4], parameters: 12, trainsIn: ["qat", "float"] },
      { name: "slopes", shape: [4], parameters: 4, trainsIn: ["efqat", "qat", "float"] },
    ]);
  });

  test("says what rounding to few bits leaves of the weights, one scale per channel", () => {
    const build = buildOn();
    const x = build.input("x", { dtype: "float32", shape: ["N", 2] });
    // The first channel's levels are −1, 0 and 1 in 2 bits, and sevenths in 4: 0.25 becomes 0 and 2/7.
    const w = build.constant(tensorOf("float32", [2, 2], [1, 8, 0.25, 8]), "w");
    const { layers } = inspectModel(build.graph([build.node("MatMul", [x, w], {}, "y")]));
    const found = new Map(layers[0].rounding.map(({ bits, sqnrDb }) => [bits, sqnrDb]));
    const signal = 1 + 0.25 ** 2 + 2 * 64;
    expect(found.get(2)).toBeCloseTo(10 * Math.log10(signal / 0.25 ** 2), 9);
    expect(found.get(4)).toBeCloseTo(10 * Math.log10(signal / (2 / 7 - 0.25) ** 2), 9);
  });

  test("weights that are integers behind DequantizeLinear are parameters, and their layers already quantized", () => {
    const build = buildOn();
    const x = build.input("x", { dtype: "float32", shape: ["N", 4] });
    const scale = build.constant(tensorOf("float32", [], [0.5]), "scale");
    const zeroPoint = build.constant(tensorOf("uint8", [], [128]), "zeroPoint");
    const codes = build.node("QuantizeLinear", [x, scale, zeroPoint], {}, "codes");
    const rounded = build.node("DequantizeLinear", [codes, scale, zeroPoint], {}, "rounded");
    const integers = build.constant(
      tensorOf(
        "int4",
        [4, 3],
        Array.from({ length: 12 }, (_, i) => (i % 2 === 0 ? 7 : -7)),
      ),
      "fc.weight_integers",
    );
    const weights = build.node("DequantizeLinear", [integers, scale], {}, "w");
    const y = build.node("MatMul", [rounded, weights], {}, "y");
    expect(inspectModel(build.graph([y]))).toMatchObject({
      parameters: 12,
      layers: [],
      notQuantizable: [],
      alreadyQuantized: [
        {
          name: "fc",
          node: "y",
          op: "MatMul",
          weightShape: [4, 3],
          parameters: 12,
          dtype: "int4",
          bits: 4,
          sizeBytes: 6,
          multiplyAdds: 12,
        },
      ],
    });
  });

  test("a weight that is NaN does not count as unchanged by rounding", () => {
    const build = buildOn();
    const x = build.input("x", { dtype: "float32", shape: ["N", 2] });
    const broken = tensorOf("float32", [2, 2], [1, Number.NaN, 2, 3]);
    const graph = build.graph([build.node("MatMul", [x, build.constant(broken, "w")])]);
    const inspection = inspectModel(graph);
    expect(inspection.layers[0].rounding.map(({ sqnrDb }) => sqnrDb)).toEqual([-1000, -1000, -1000]);
  });

  test("says why a product cannot be quantized", () => {
    const build = buildOn();
    const x = build.input("x", { dtype: "float32", shape: ["N", 4] });
    const square = build.node("MatMul", [x, build.node("Transpose", [x], { perm: [1, 0] }, "xT")], {}, "square");
    expect(inspectModel(build.graph([square])).notQuantizable).toEqual([
      { node: "square", op: "MatMul", reason: 'its second input "xT" is computed, not a constant weight' },
    ]);
  });

  test("leaves out products whose bias is computed, and those that read another layer's weight transposed", () => {
    const build = buildOn();
    const x = build.input("x", { dtype: "float32", shape: ["N", 4] });
    const shared = build.constant(weight([4, 4]), "shared");
    const first = build.node("Gemm", [x, shared], {}, "first");
    const tied = build.node("Gemm", [first, shared], { transB: 1 }, "tied");
    const again = build.node("Gemm", [tied, shared], {}, "again");
    const last = build.node("Gemm", [again, build.constant(weight([4, 4]), "w"), x], {}, "last");
    const { layers, notQuantizable } = inspectModel(build.graph([last]));
    expect(layers.map(({ name }) => name)).toEqual(["first", "again"]);
    expect(notQuantizable).toEqual([
      { node: "tied", op: "Gemm", reason: 'another layer reads its weight "shared" transposed' },
      { node: "last", op: "Gemm", reason: 'its third input "x" is computed, not a constant bias' },
    ]);
  });

  test("finds operators without a gradient and the layers that cannot train because of them", () => {
    const build = buildOn();
    const x = build.input("x", { dtype: "float32", shape: ["N", 4] });
    const hidden = build.node("MatMul", [x, build.constant(weight([4, 6]), "w1")], {}, "hidden");
    const steps = build.node(
      "Cast",
      [build.node("ArgMax", [hidden], { axis: 1, keepdims: 1 }, "steps")],
      { to: "float32" },
      "cast",
    );
    const y = build.node("MatMul", [steps, build.constant(weight([1, 3]), "w2")], {}, "y");
    const { layers, notDifferentiable } = inspectModel(build.graph([y]));
    expect(layers.map(({ name, canTrain }) => [name, canTrain])).toEqual([
      ["hidden", false],
      ["y", true],
    ]);
    expect(notDifferentiable).toEqual([
      { node: "steps", op: "ArgMax", reason: 'ArgMax (node "steps") has no gradient' },
    ]);
  });

  describe("multiply-adds where sizes are symbolic", () => {
    const attention = (build: ReturnType<typeof buildOn>): ReturnType<typeof build.graph> => {
      const x = build.input("x", { dtype: "float32", shape: ["N", "length", 4] });
      const q = build.node("MatMul", [x, build.constant(weight([4, 4]), "wq")], {}, "q");
      const k = build.node("Transpose", [x], { perm: [0, 2, 1] });
      return build.graph([build.node("MatMul", [q, k], {}, "scores")]);
    };
    const projected = (length: number): number => length * 4 * 4;
    const scored = (length: number): number => length * length * 4;

    test("are counted at 64 or at what is asked for, and say so", () => {
      const graph = attention(buildOn());
      expect(inspectModel(graph)).toMatchObject({
        sizes: { length: 64 },
        uncounted: [],
        multiplyAdds: projected(64) + scored(64),
      });
      const asked = inspectModel(graph, { sizes: { length: 10 } });
      expect(asked.layers[0].multiplyAdds).toBe(projected(10));
      expect(asked.multiplyAdds).toBe(projected(10) + scored(10));
      expect(() => inspectModel(graph, { sizes: { N: 3 } })).toThrow(/sizes names "N".* have "length"/);
    });
    test("are unknown behind sizes that only a run knows, and never counted as 1", () => {
      const build = buildOn();
      const x = build.input("x", { dtype: "float32", shape: ["N", 4] });
      const places = build.node("Transpose", [build.node("NonZero", [x], {}, "found")], { perm: [1, 0] });
      const floats = build.node("Cast", [places], { to: "float32" }, "floats");
      const y = build.node("MatMul", [floats, build.constant(weight([2, 6]), "w")], {}, "y");
      const first = build.node("MatMul", [x, build.constant(weight([4, 6]), "v")], {}, "first");
      const { layers, operators, multiplyAdds, uncounted } = inspectModel(build.graph([first, y]));
      expect(layers.map(({ name, multiplyAdds }) => [name, multiplyAdds])).toEqual([
        ["y", null],
        ["first", 24],
      ]);
      expect(multiplyAdds).toBe(24);
      expect(uncounted).toEqual(["y"]);
      expect(operators.find(({ op }) => op === "MatMul")).toEqual({ op: "MatMul", count: 2, multiplyAdds: null });
    });
    test("of a batch that cannot be free are those of one sample", () => {
      const build = buildOn();
      const x = build.input("x", { dtype: "float32", shape: [4, 6] });
      const mixed = build.node("Add", [x, build.node("CumSum", [x, build.constant(tensorOf("int64", [], [0]))])]);
      const y = build.node("MatMul", [mixed, build.constant(weight([6, 5]), "w")], {}, "y");
      const { layers, inputs } = inspectModel(build.graph([y]));
      expect(inputs[0].shape).toEqual([4, 6]);
      expect(layers[0].multiplyAdds).toBe(30);
    });
  });
});
