import { expect, test } from "vitest";
import type { Builder } from "../ir/builder.ts";
import type { Graph } from "../ir/graph.ts";
import { type Tensor, tensorOf } from "../ir/tensor.ts";
import { buildOn } from "../ops/infer.ts";
import { learnedConstants } from "./learned-constants.ts";
import { parametersOf } from "./parameters.ts";

const filled = (shape: readonly number[], value = 0.5): Tensor =>
  tensorOf("float32", shape, new Array<number>(shape.reduce((a, b) => a * b, 1)).fill(value));

/** x [N, 3, 4] → what `make` gives of x behind a layer that keeps its shape. */
function behindLayer(make: (build: Builder, h: string, x: string) => string): Graph {
  const build = buildOn();
  const x = build.input("x", { dtype: "float32", shape: ["N", 3, 4] });
  const h = build.node("MatMul", [x, build.constant(filled([4, 4]), "layer.weight")], {}, "layer");
  return build.graph([make(build, h, x)]);
}

const learned = (graph: Graph): Record<string, string> => {
  const known = new Set(graph.constants.has("layer.weight") ? ["layer.weight"] : []);
  return Object.fromEntries(learnedConstants(graph, known));
};

test.each<[string, readonly number[], (build: Builder, h: string, c: string) => string, string]>([
  ["a position embedding", [1, 3, 4], (build, h, c) => build.node("Add", [h, c]), "table"],
  ["one behind a quantizer", [1, 3, 4], (build, h, c) => build.node("Add", [h, build.node("Identity", [c])]), "table"],
  ["a scale of layers", [4], (build, h, c) => build.node("Mul", [c, h]), "vector"],
  ["slopes", [3, 1], (build, h, c) => build.node("PRelu", [h, c]), "vector"],
  ["one slope", [1], (build, h, c) => build.node("PRelu", [h, c]), "vector"],
  ["weights of a batch of products", [3, 4, 2], (build, h, c) => build.node("MatMul", [h, c]), "table"],
  [
    "a class token",
    [1, 1, 4],
    (build, h, c) => {
      const batch = build.node("Shape", [h], { start: 0, end: 1 });
      const shape = build.node("Concat", [batch, build.ints([1, 4])], { axis: 0 });
      return build.node("Concat", [build.node("Expand", [c, shape]), h], { axis: 1 });
    },
    "vector",
  ],
])("%s is learned", (_, shape, make, form) => {
  const graph = behindLayer((build, h) => make(build, h, build.constant(filled(shape), "c")));
  expect(learned(graph)).toEqual({ c: form });
});

test("embeddings are learned, and what is added to them", () => {
  const build = buildOn();
  const tokens = build.input("tokens", { dtype: "int64", shape: ["N", 3] });
  const words = build.node("Gather", [build.constant(filled([9, 4]), "words"), tokens]);
  const sum = build.node("Add", [words, build.constant(filled([1, 3, 4]), "positions")]);
  expect(learned(build.graph([sum]))).toEqual({ words: "table", positions: "table" });
});

test.each<[string, (build: Builder, h: string, x: string) => string]>([
  ["one number", (build, h) => build.node("Mul", [h, build.constant(filled([1]), "c")])],
  ["a mask", (build, h) => build.node("Add", [h, build.constant(filled([3, 4], -1e9), "c")])],
  [
    "a mask of infinities",
    (build, h) => build.node("Add", [h, build.constant(filled([3, 4], Number.NEGATIVE_INFINITY), "c")]),
  ],
  ["preprocessing", (build, h, x) => build.node("Add", [h, build.node("Add", [x, build.constant(filled([4]), "c")])])],
  [
    "zeros that pad",
    (build, h) =>
      build.node(
        "Concat",
        [h, build.node("Expand", [build.constant(filled([1, 1, 4], 0), "c"), build.node("Shape", [h])])],
        { axis: 0 },
      ),
  ],
  ["a table of angles", (build, h) => build.node("Mul", [h, build.constant(filled([3, 4]), "c")])],
  [
    "what has no gradient",
    (build, h) =>
      build.node("Cast", [build.node("NonZero", [build.node("Add", [h, build.constant(filled([4]), "c")])])], {
        to: "float32",
      }),
  ],
])("%s is not learned", (_, make) => {
  expect(learned(behindLayer(make))).toEqual({});
});

test("what the file writes as Constant nodes is not learned", () => {
  const graph = behindLayer((build, h) => build.node("Add", [h, build.constant(filled([3, 4]), "c")]));
  expect(learned({ ...graph, literals: new Set(["c"]) })).toEqual({});
});

test("an output that is chosen from, besides the scores, stops nothing", () => {
  const graph = behindLayer((build, h) => build.node("Add", [h, build.constant(filled([3, 4]), "c")]));
  const build = buildOn(graph);
  const chosen = build.node("ArgMax", [graph.outputs[0]], { axis: 2 });
  expect(parametersOf(build.graph([...graph.outputs, chosen])).map(({ name }) => name)).toEqual(["layer.weight", "c"]);
});
