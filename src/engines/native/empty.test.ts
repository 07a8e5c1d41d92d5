// What has no elements, and what is constant, beside the reference engine.
import { describe, expect, test } from "vitest";
import { expectClose } from "../../../test/support/close.ts";
import { isNativeBuilt, notBuilt } from "../../../test/support/native.ts";
import { createRandom } from "../../../test/support/random.ts";
import { runGraph } from "../../../test/support/run-graph.ts";
import type { Attribute, Graph } from "../../ir/graph.ts";
import { scalar, type Tensor, tensorOf } from "../../ir/tensor.ts";
import { buildOn } from "../../ops/infer.ts";
import { createReferenceEngine } from "../reference/reference-engine.ts";
import { createNativeEngine } from "./native-engine.ts";

const random = createRandom(5);
const engines = [createNativeEngine(), createReferenceEngine()];

interface Empty {
  readonly op: string;
  readonly shapes: readonly (readonly number[])[];
  readonly attributes?: Readonly<Record<string, Attribute>>;
}

const window = { kernel_shape: [3, 3], pads: [1, 1, 1, 1] };
const cases: readonly Empty[] = [
  { op: "Conv", shapes: [[0, 3, 8, 8], [4, 3, 3, 3], [4]], attributes: window },
  {
    op: "Conv",
    shapes: [
      [0, 3, 8],
      [4, 3, 3],
    ],
    attributes: { kernel_shape: [3] },
  },
  {
    op: "Conv",
    shapes: [
      [2, 3, 8, 8],
      [0, 3, 3, 3],
    ],
    attributes: window,
  },
  { op: "ConvTranspose", shapes: [[0, 3, 8, 8], [3, 4, 3, 3], [4]], attributes: window },
  {
    op: "ConvGradientInput",
    shapes: [
      [0, 4, 8, 8],
      [4, 3, 3, 3],
    ],
    attributes: { ...window, spatial: [8, 8] },
  },
  {
    op: "ConvGradientWeight",
    shapes: [
      [0, 4, 8, 8],
      [0, 3, 8, 8],
    ],
    attributes: window,
  },
  { op: "MaxPool", shapes: [[0, 3, 8, 8]], attributes: window },
  { op: "AveragePool", shapes: [[0, 3, 8, 8]], attributes: window },
  { op: "AveragePoolGradient", shapes: [[0, 3, 8, 8]], attributes: { ...window, spatial: [8, 8] } },
  {
    op: "MaxPoolGradient",
    shapes: [
      [0, 3, 8, 8],
      [0, 3, 8, 8],
    ],
    attributes: window,
  },
  { op: "GlobalAveragePool", shapes: [[0, 3, 8, 8]] },
  { op: "BatchNormalization", shapes: [[0, 3, 8, 8], [3], [3], [3], [3]] },
  { op: "LayerNormalization", shapes: [[0, 8], [8], [8]] },
  { op: "InstanceNormalization", shapes: [[0, 3, 8], [3], [3]] },
  { op: "Softmax", shapes: [[0, 8]] },
  { op: "Gemm", shapes: [[0, 3], [3, 4], [4]] },
  {
    op: "MatMul",
    shapes: [
      [2, 0, 3],
      [2, 3, 4],
    ],
  },
  {
    op: "MatMul",
    shapes: [
      [2, 3, 0],
      [2, 0, 4],
    ],
  },
  { op: "Transpose", shapes: [[0, 3, 8]], attributes: { perm: [2, 0, 1] } },
  { op: "ReduceSum", shapes: [[0, 8]] },
];

function graphOf({ op, shapes, attributes = {} }: Empty): { graph: Graph; inputs: ReadonlyMap<string, Tensor> } {
  const build = buildOn();
  const inputs = new Map(shapes.map((shape, i) => [`x${i}`, random.uniformTensor("float32", shape, 0.5, 1)]));
  const names = shapes.map((shape, i) => build.input(`x${i}`, { dtype: "float32", shape }));
  return { graph: build.graph([build.node(op, names, attributes)]), inputs };
}

describe.skipIf(!isNativeBuilt)(`the native engine and the reference${isNativeBuilt ? "" : ` (${notBuilt})`}`, () => {
  const check = async (graph: Graph, inputs: ReadonlyMap<string, Tensor>): Promise<void> => {
    const [actual, expected] = await Promise.all(engines.map((engine) => runGraph(engine, graph, inputs)));
    expect([...actual.keys()]).toEqual([...expected.keys()]);
    for (const [name, value] of expected) {
      expect(actual.get(name)?.shape).toEqual(value.shape);
      expectClose(actual.get(name) as Tensor, value);
    }
  };

  test.each(cases)("give the same of $op of $shapes", async (each) => {
    const { graph, inputs } = graphOf(each);
    await check(graph, inputs);
  });

  test("give the same of a quantized convolution of no images, of a batch that is fixed or not", async () => {
    for (const batch of [0, "N"]) {
      const build = buildOn();
      const constant = (value: number): string => build.constant(scalar("float32", value));
      const x = build.input("x", { dtype: "float32", shape: [batch, 16, 6, 6] });
      const codes = build.node("FakeQuantize", [x, constant(0.1), constant(3), constant(0), constant(255)]);
      const w = build.constant(random.tensor("float32", [16, 16, 3, 3]));
      const quantized = build.node("FakeQuantize", [w, constant(0.1), undefined, constant(-7), constant(7)]);
      const y = build.node("Relu", [build.node("Conv", [codes, quantized], window)]);
      await check(build.graph([y]), new Map([["x", random.tensor("float32", [0, 16, 6, 6])]]));
    }
  });

  test("give the same where a constant's reduction, of a type that no step has, is an output", async () => {
    const build = buildOn();
    const constant = build.constant(tensorOf("int64", [2, 3], [1, 2, 3, 0, -1, 4]));
    const outputs = ["ReduceLogSumExp", "ReduceL2"].map((op) => build.node(op, [constant], { keepdims: 0 }));
    await check(build.graph(outputs), new Map());
  });
});
