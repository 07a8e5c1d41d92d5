import { expect, test } from "vitest";
import { origin } from "../../test/support/export-quantized.ts";
import { createRandom } from "../../test/support/random.ts";
import { runModel } from "../../test/support/run-model.ts";
import type { Node } from "../ir/graph.ts";
import { writeOnnx } from "../onnx/write.ts";
import { buildOn } from "../ops/infer.ts";
import { dropDefaults } from "./drop-defaults.ts";

const random = createRandom(41);
const window = { auto_pad: "NOTSET", dilations: [1, 1], pads: [0, 0, 0, 0], strides: [1, 1] };

interface Case {
  readonly x: readonly number[];
  /** Of a weight and a bias. */
  readonly constants?: readonly (readonly number[])[];
  readonly told: Node["attributes"];
  readonly kept?: Node["attributes"];
}

const cases: Readonly<Record<string, Case>> = {
  Conv: {
    x: [2, 4, 6, 5],
    constants: [[3, 4, 3, 2], [3]],
    told: { ...window, group: 1 },
    kept: { kernel_shape: [3, 2] },
  },
  ConvTranspose: {
    x: [2, 4, 6, 5],
    constants: [[4, 3, 3, 2]],
    told: { ...window, group: 1, output_padding: [0, 0] },
    kept: { kernel_shape: [3, 2] },
  },
  MaxPool: {
    x: [2, 4, 6, 5],
    told: { ...window, ceil_mode: 0, storage_order: 0 },
    kept: { kernel_shape: [2, 3] },
  },
  AveragePool: {
    x: [2, 4, 6, 5],
    told: { ...window, ceil_mode: 0, count_include_pad: 0 },
    kept: { kernel_shape: [2, 3] },
  },
  Gemm: { x: [3, 4], constants: [[4, 5], [5]], told: { alpha: 1, beta: 1, transA: 0, transB: 0 } },
};

test.each(Object.keys(cases))("%s in ONNX Runtime gives without them what it gives with them", async (op) => {
  const { x, constants = [], told, kept = {} } = cases[op];
  const build = buildOn();
  const given = build.input("x", { dtype: "float32", shape: x });
  const weights = constants.map((shape) => build.constant(random.tensor("float32", shape)));
  const graph = build.graph([build.node(op, [given, ...weights], { ...kept, ...told }, "y")]);
  const result = dropDefaults(graph);
  expect(result.nodes.map(({ attributes }) => attributes)).toEqual([kept]);
  const inputs = new Map([["x", random.tensor("float32", x)]]);
  const [actual, expected] = await Promise.all(
    [result, graph].map(async (each) => runModel(writeOnnx({ graph: each, origin }, { opset: 20 }), inputs)),
  );
  expect(actual).toEqual(expected);
});

test("what says something else stays", () => {
  const attributes = { dilations: [1, 2], group: 2, pads: [0, 0, 0, 1], strides: [2, 1] };
  const build = buildOn();
  const x = build.input("x", { dtype: "float32", shape: [2, 4, 6, 5] });
  const w = build.constant(random.tensor("float32", [4, 2, 3, 3]));
  const graph = build.graph([
    build.node("Conv", [x, w], attributes),
    build.node("Transpose", [x], { perm: [1, 0, 2, 3] }),
  ]);
  expect(dropDefaults(graph)).toEqual(graph);
});
