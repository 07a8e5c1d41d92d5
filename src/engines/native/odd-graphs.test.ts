// Graphs that ordinary networks do not have, against the reference engine.
import { describe, test } from "vitest";
import { expectClose } from "../../../test/support/close.ts";
import { isNativeBuilt, notBuilt } from "../../../test/support/native.ts";
import { createRandom } from "../../../test/support/random.ts";
import { runGraph } from "../../../test/support/run-graph.ts";
import type { Graph } from "../../ir/graph.ts";
import { scalar, type Tensor, tensorOf } from "../../ir/tensor.ts";
import { buildOn } from "../../ops/infer.ts";
import { createReferenceEngine } from "../reference/reference-engine.ts";
import { createNativeEngine } from "./native-engine.ts";

type Build = ReturnType<typeof buildOn>;

const random = createRandom(17);
const [native, reference] = [createNativeEngine(), createReferenceEngine()];

async function compare(graph: Graph, inputs: ReadonlyMap<string, Tensor>, factor = 8): Promise<void> {
  const expected = await runGraph(reference, graph, inputs);
  for (const threads of [1, 3]) {
    const actual = await runGraph(native, graph, inputs, threads);
    for (const name of graph.outputs)
      expectClose(actual.get(name) as Tensor, expected.get(name) as Tensor, {
        what: name,
        widen: { factor, because: "several operators follow each other" },
      });
  }
}

const constant = (build: Build, value: number): string => build.constant(scalar("float32", value));

/** One quantizer for all: codes 0 to 255, steps of 1/16, zero point 100. */
const quantized = (build: Build, x: string): string =>
  build.node("FakeQuantize", [x, ...[1 / 16, 100, 0, 255].map((value) => constant(build, value))]);

/** Weights around zero, steps of 1/8. */
const weights = (build: Build, shape: readonly number[]): string => {
  const w = build.constant(random.uniformTensor("float32", shape, -4, 4));
  return build.node("FakeQuantize", [w, constant(build, 1 / 8), "", constant(build, -31), constant(build, 31)]);
};

describe.skipIf(!isNativeBuilt)(`odd graphs on the native engine${isNativeBuilt ? "" : ` (${notBuilt})`}`, () => {
  test.each([
    [
      "a batch normalization",
      (build: Build, x: string) => {
        const [one, half] = [1, 0.5].map((value) => build.constant(tensorOf("float32", [1], [value])));
        return build.nodes("BatchNormalizationTraining", [x, one, half], [true, false, false], { epsilon: 1e-5 })[0];
      },
    ],
    [
      "a quantized convolution with a bias",
      (build: Build, x: string) =>
        build.node(
          "Conv",
          [quantized(build, x), weights(build, [1, 1, 3, 3]), build.constant(tensorOf("float32", [1], [0.5]))],
          { pads: [1, 1, 1, 1] },
        ),
    ],
  ])("%s of one channel, and then a softmax along rows", async (_, make) => {
    const build = buildOn();
    const x = build.input("x", { dtype: "float32", shape: [8, 1, 16, 16] });
    const graph = build.graph([build.node("Softmax", [make(build, x)], { axis: -1 })]);
    await compare(graph, new Map([["x", random.tensor("float32", [8, 1, 16, 16])]]));
  });

  test("what a quantized product reads is also a row that others meet", async () => {
    const build = buildOn();
    const x = build.input("x", { dtype: "float32", shape: [1, 64] });
    const t = build.input("t", { dtype: "float32", shape: [128, 64] });
    const q = quantized(build, x);
    const outputs = [build.node("MatMul", [q, weights(build, [64, 8])]), build.node("Add", [t, q])];
    await compare(
      build.graph(outputs),
      new Map([
        ["x", random.tensor("float32", [1, 64])],
        ["t", random.tensor("float32", [128, 64])],
      ]),
    );
  });

  test("what a quantized product reads is also a convolution's input", async () => {
    const build = buildOn();
    const x = build.input("x", { dtype: "float32", shape: [2, 6, 5, 8] });
    const q = quantized(build, x);
    const outputs = [
      build.node("Conv", [q, weights(build, [4, 6, 1, 1])]),
      build.node("MatMul", [q, weights(build, [8, 3])]),
    ];
    await compare(build.graph(outputs), new Map([["x", random.tensor("float32", [2, 6, 5, 8])]]));
  });

  test("a scatter of a value's own elements", async () => {
    const build = buildOn();
    const x = build.input("x", { dtype: "float32", shape: [64] });
    const indices = build.constant(
      tensorOf(
        "int64",
        [64],
        Array.from({ length: 64 }, (_, i) => (i + 1) % 64),
      ),
    );
    const doubled = build.node("Add", [x, x]);
    const y = build.node("ScatterElements", [doubled, indices, doubled], { axis: 0 });
    await compare(build.graph([y]), new Map([["x", random.tensor("float32", [64])]]));
  });

  test("remainders by the largest unsigned integers", async () => {
    for (const [dtype, most] of [
      ["uint8", 255],
      ["uint16", 65535],
      ["uint32", 4294967295],
    ] as const) {
      const build = buildOn();
      const [a, b] = ["a", "b"].map((name) => build.input(name, { dtype, shape: [3] }));
      const graph = build.graph([build.node("Mod", [a, b]), build.node("Mod", [a, b], { fmod: 1 })]);
      const inputs = new Map([
        ["a", tensorOf(dtype, [3], [100, most, 7])],
        ["b", tensorOf(dtype, [3], [most, most, 4])],
      ]);
      await compare(graph, inputs);
    }
  });

  test.each([
    ["along rows", 1, [80, 24]],
    ["down columns", 0, [80, 24]],
    ["along long rows that threads share", 1, [2, 9000]],
    ["element by element", 1, [3, 5, 7]],
  ])("the extremes of what holds no number are none, %s", async (_, axis, shape) => {
    const build = buildOn();
    const x = build.input("x", { dtype: "float32", shape });
    const reduced = ["ReduceMax", "ReduceMin"].map((op) => build.node(op, [x, build.ints([axis])], { keepdims: 0 }));
    for (const place of [0, 11, 20]) {
      const value = random.tensor("float32", shape);
      value.data[place] = Number.NaN;
      await compare(build.graph(reduced), new Map([["x", value]]));
    }
  });
});
