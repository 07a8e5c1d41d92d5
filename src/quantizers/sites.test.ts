import { describe, expect, test } from "vitest";
import type { Builder } from "../ir/builder.ts";
import type { Graph } from "../ir/graph.ts";
import { sizeOf, tensorOf } from "../ir/tensor.ts";
import { buildOn } from "../ops/infer.ts";
import { type QuantizeOptions, quantizeOptions } from "./quantize-options.ts";
import { findSites } from "./sites.ts";

const matrix = tensorOf("float32", [4, 4], [1, 2, 3, 4, 5, 6, 7, 8, 9, 1, 2, 3, 4, 5, 6, 7]);

/** input → first → Relu → (what `middle` adds) → last */
function twoLayers(middle: (build: Builder, x: string) => string): Graph {
  const build = buildOn();
  const x = build.input("x", { dtype: "float32", shape: ["N", 4] });
  const first = build.node("MatMul", [x, build.constant(matrix, "first.weight")], {}, "first");
  const between = middle(build, build.node("Relu", [first], {}, "relu"));
  const last = build.node("MatMul", [between, build.constant(matrix, "last.weight")], {}, "last");
  return build.graph([last]);
}

const activations = (graph: Graph, options: Partial<QuantizeOptions> = {}) =>
  findSites(graph, quantizeOptions.parse({ placement: "runtime", ...options })).activations.map(
    ({ value, bits, sameAs }) => [value, bits, sameAs],
  );

const pad = (value: number) => (build: Builder, x: string) => {
  const pads = build.ints([1, 0, 1, 0]);
  return build.node("Pad", [x, pads, build.constant(tensorOf("float32", [], [value]), "padding")], {}, "pad");
};

describe("placement runtime", () => {
  test("operators that move values keep the range", () => {
    const turned = twoLayers((build, x) => build.node("Transpose", [x], { perm: [0, 1] }, "turned"));
    expect(activations(turned)).toEqual([
      ["x", 8, undefined],
      ["relu", 8, undefined],
      ["turned", 8, "relu"],
    ]);
  });

  test("a layer that computes with floats has its weight quantized, and its input for others alone", () => {
    const graph = twoLayers((_, x) => x);
    const layers = { last: { activations: "float" } } as const;
    expect(activations(graph, { layers })).toEqual([["x", 8, undefined]]);
    const options = quantizeOptions.parse({ placement: "runtime", firstLast: 8, weights: 4, layers });
    expect(findSites(graph, options).weights.map(({ value, bits }) => [value, bits])).toEqual([
      ["first.weight", 8],
      ["last.weight", 8],
    ]);
    const inputs = { placement: "inputs", layers } as const;
    expect(activations(graph, inputs)).toEqual([["x", 8, undefined]]);
  });

  test("what a matrix product gives to a Pad stays float, since no integer kernel pads", () => {
    for (const value of [0, 30])
      expect(activations(twoLayers(pad(value)))).toEqual([
        ["x", 8, undefined],
        ["pad", 8, undefined],
      ]);
  });

  test("what a convolution gives has the range that a Pad of zeros keeps; another value has a separate one", () => {
    const padded = (value: number): Graph => {
      const build = buildOn();
      const weight = (name: string): string => build.constant(tensorOf("float32", [1, 1, 1, 1], [2]), name);
      const x = build.input("x", { dtype: "float32", shape: ["N", 1, 4, 4] });
      const first = build.node("Conv", [x, weight("first.weight")], {}, "first");
      const pads = build.ints([0, 0, 1, 1, 0, 0, 1, 1]);
      const around = build.node("Pad", [first, pads, build.constant(tensorOf("float32", [], [value]))], {}, "pad");
      return build.graph([build.node("Conv", [around, weight("last.weight")], {}, "last")]);
    };
    expect(activations(padded(0))).toContainEqual(["pad", 8, "first"]);
    expect(activations(padded(30))).toContainEqual(["pad", 8, undefined]);
  });

  test("between layers a sum is quantized where its terms are and a layer reads it", () => {
    const sum = (other: "first" | "constant", reader: string) =>
      activations(
        twoLayers((build, x) => {
          const term = other === "first" ? x : build.constant(tensorOf("float32", [4], [1, 2, 3, 4]));
          return build.node(reader, [build.node("Add", [x, term], {}, "sum")], {}, "reader");
        }),
      ).map(([value]) => value);
    expect(sum("first", "Identity")).toEqual(["x", "relu", "sum", "reader"]);
    expect(sum("first", "Tanh")).toEqual(["x", "reader"]);
    expect(sum("constant", "Identity")).toEqual(["x", "reader"]);
  });

  test("scores and the values that hold their mask stay float on every way to a softmax", () => {
    const attention = (way: (build: Builder, sum: string) => string) =>
      activations(
        twoLayers((build, x) => {
          const mask = build.node("Mul", [x, build.scalar(-10000)], {}, "mask");
          const scores = way(build, build.node("Add", [x, mask], {}, "sum"));
          return build.node("Softmax", [scores], {}, "softmax");
        }),
      ).map(([value]) => value);
    for (const way of [
      (_: Builder, sum: string) => sum,
      (build: Builder, sum: string) => build.node("Flatten", [sum]),
      (build: Builder, sum: string) => build.node("Add", [build.node("Transpose", [sum], { perm: [0, 1] }), sum]),
      (build: Builder, sum: string) => build.node("Where", [build.node("Greater", [sum, sum]), sum, sum]),
    ])
      expect(attention(way)).toEqual(["x", "softmax"]);
  });

  test("every output of a Split keeps the range", () => {
    const graph = twoLayers((build, x) => {
      const [head, tail] = build.nodes("Split", [x, build.ints([2, 2])], [true, true], { axis: 1 }, "split");
      return build.node("Concat", [tail, head], { axis: 1 }, "swapped");
    });
    expect(activations(graph)).toEqual([
      ["x", 8, undefined],
      ["relu", 8, undefined],
      ["split", 8, "relu"],
      ["split:1", 8, "relu"],
      ["swapped", 8, undefined],
    ]);
  });

  test("a range is shared by quantizers of the same bits alone", () => {
    const graph = twoLayers((build, x) => build.node("Flatten", [x], { axis: 1 }, "flat"));
    expect(activations(graph, { layers: { first: 4 } })).toEqual([
      ["x", 4, undefined],
      ["relu", 4, undefined],
      ["flat", 8, undefined],
    ]);
  });
});

describe("weights", () => {
  test.each([
    ["Conv", [8, 40, 3, 3], {}, 1],
    ["ConvTranspose", [40, 8, 3, 3], {}, 0],
    ["MatMul", [40, 8], {}, 0],
    ["Gemm", [40, 8], {}, 0],
    ["Gemm", [8, 40], { transB: 1 }, 1],
  ] as const)("of %s %j %j have groups along their inputs, axis %i", (op, shape, attributes, axis) => {
    const build = buildOn();
    const x = build.input("x", { dtype: "float32", shape: shape.length === 4 ? ["N", 40, 5, 5] : ["N", 40] });
    const weight = build.constant(tensorOf("float32", shape, new Array<number>(sizeOf(shape)).fill(1)), "w");
    const graph = build.graph([build.node(op, [x, weight], attributes, "layer")]);
    const granularity = (groupSize: 16 | 64 | "whole") =>
      findSites(graph, quantizeOptions.parse({ groupSize })).weights[0].granularity;
    expect(granularity(16)).toEqual({ axis, groupSize: 16 });
    for (const groupSize of [64, "whole"] as const) expect(granularity(groupSize)).toEqual({ axis: 1 - axis });
  });

  test("nodes that are not quantized layers read a weight in float; layers of other bits have separate quantizers", () => {
    const build = buildOn();
    const x = build.input("x", { dtype: "float32", shape: ["N", 4] });
    const weight = build.constant(matrix, "shared");
    const scaled = build.node("Mul", [x, build.node("ReduceSum", [weight], { keepdims: 0 }, "sum")], {}, "scaled");
    const outputs = ["a", "b", "c", "d"].reduce((y, name) => build.node("MatMul", [y, weight], {}, name), scaled);
    const options = quantizeOptions.parse({ placement: "inputs", layers: { b: { weights: 4 }, c: "float" } });
    const { weights } = findSites(build.graph([outputs]), options);
    expect(weights.map(({ name, bits, readers }) => [name, bits, readers])).toEqual([
      ["a.weight", 8, ["a", "d"]],
      ["b.weight", 4, ["b"]],
    ]);
  });
});

describe("bits of the first and the last layers", () => {
  /** Two layers read the input, one lies between, and two end in outputs: one of them behind a Relu. */
  function heads(): Graph {
    const build = buildOn();
    const x = build.input("x", { dtype: "float32", shape: ["N", 4] });
    const layer = (input: string, name: string): string =>
      build.node("MatMul", [input, build.constant(matrix, `${name}.weight`)], {}, name);
    const sum = build.node("Add", [layer(x, "left"), layer(x, "right")], {}, "sum");
    const middle = build.node("Relu", [layer(sum, "middle")], {}, "relu");
    return build.graph([layer(middle, "scores"), build.node("Relu", [layer(middle, "boxes")])]);
  }
  const bitsBySite = (graph: Graph, options: Partial<QuantizeOptions>) => {
    const { weights, activations } = findSites(
      graph,
      quantizeOptions.parse({ weights: 4, activations: 4, ...options }),
    );
    return Object.fromEntries(
      [...weights, ...activations].map(({ name, bits }) => [name.replace(/\.weight$/, ""), bits]),
    );
  };

  test("are those of every layer before which, or behind which, there is no other", () => {
    const bits = bitsBySite(heads(), { firstLast: 8 });
    for (const name of ["left", "right", "scores", "boxes"])
      expect([bits[name], bits[`${name}.input`]], name).toEqual([8, 8]);
    expect([bits["middle"], bits["middle.input"]]).toEqual([4, 4]);
  });

  test("give way to what layers says, and leave out layers that stay in float", () => {
    const bits = bitsBySite(heads(), { firstLast: 8, layers: { left: "float", right: "float", boxes: 5 } });
    expect([bits["left"], bits["middle"], bits["middle.input"], bits["boxes"], bits["scores"]]).toEqual([
      undefined,
      8,
      8,
      5,
      8,
    ]);
  });

  test("are both of a model's one layer", () => {
    const build = buildOn();
    const x = build.input("x", { dtype: "float32", shape: ["N", 4] });
    const graph = build.graph([build.node("MatMul", [x, build.constant(matrix, "only.weight")], {}, "only")]);
    expect(bitsBySite(graph, { firstLast: 6 })).toEqual({ only: 6, "only.input": 6 });
  });
});

test("with activations in float, weights alone have sites, with zero points; an exception's number is of its weights", () => {
  const graph = twoLayers((_, x) => x);
  const sites = (options: Partial<QuantizeOptions>) =>
    findSites(graph, quantizeOptions.parse({ activations: "float", weights: 4, ...options }));
  const weights = (options: Partial<QuantizeOptions>) =>
    sites(options).weights.map(({ name, bits, symmetric }) => [name, bits, symmetric]);
  expect(sites({}).activations).toEqual([]);
  expect(weights({ layers: { last: 8 } })).toEqual([
    ["first.weight", 4, false],
    ["last.weight", 8, false],
  ]);
  expect(sites({ layers: { last: 8 }, firstLast: 6 }).activations).toEqual([]);
  expect(weights({ asymmetricWeights: false, firstLast: 6 })[0]).toEqual(["first.weight", 6, true]);
  expect(sites({ layers: { last: { activations: 8 } } }).activations.map(({ name }) => name)).toEqual(["last.input"]);
});
