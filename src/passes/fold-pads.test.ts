import { describe, expect, test } from "vitest";
import { expectClose } from "../../test/support/close.ts";
import { createRandom } from "../../test/support/random.ts";
import { runGraph } from "../../test/support/run-graph.ts";
import { runModel } from "../../test/support/run-model.ts";
import { createReferenceEngine } from "../engines/reference/reference-engine.ts";
import type { Builder } from "../ir/builder.ts";
import type { Graph, Origin } from "../ir/graph.ts";
import { type Tensor, tensorOf } from "../ir/tensor.ts";
import { writeOnnx } from "../onnx/write.ts";
import { buildOn } from "../ops/infer.ts";
import { foldPads } from "./fold-pads.ts";

const origin: Origin = {
  opset: 19,
  irVersion: 9,
  producerName: "",
  producerVersion: "",
  domain: "",
  modelVersion: 0n,
  docString: "",
  metadata: new Map(),
};

const random = createRandom(7);
const image = random.tensor("float32", [2, 4, 7, 6]);

function graphOf(make: (build: Builder, x: string) => string): Graph {
  const build = buildOn();
  const x = build.input("x", { dtype: "float32", shape: [2, 4, 7, 6] });
  return build.graph([make(build, x)]);
}

const padded = (build: Builder, x: string, pads: readonly number[], value?: number): string =>
  build.node("Pad", [
    x,
    build.ints(pads),
    value === undefined ? undefined : build.constant(tensorOf("float32", [], [value])),
  ]);
const around = [0, 0, 1, 0, 0, 0, 2, 1];
const conv = (build: Builder, x: string, attributes = {}, group = 1): string =>
  build.node("Conv", [x, build.constant(random.tensor("float32", [4, 4 / group, 3, 3]))], { group, ...attributes });
const pool = (op: string, build: Builder, x: string, attributes = {}): string =>
  build.node(op, [x], { kernel_shape: [3, 3], strides: [2, 2], ...attributes });

const padsIn = ({ nodes }: Graph): number => nodes.filter(({ op }) => op === "Pad").length;

/** The folded graph gives what ONNX Runtime gives for the graph as it was. */
async function expectSame(graph: Graph, folded: Graph): Promise<void> {
  const inputs = new Map([["x", image]]);
  const expected = await runModel(writeOnnx({ graph, origin }, { opset: 19 }), inputs);
  const actual = await runGraph(createReferenceEngine(), folded, inputs);
  for (const output of graph.outputs) expectClose(actual.get(output) as Tensor, expected.get(output) as Tensor);
}

describe("zeros around images become pads of what reads them", () => {
  test.each([
    ["a convolution", (b, x) => conv(b, padded(b, x, around))],
    ["one that pads itself", (b, x) => conv(b, padded(b, x, around, 0), { pads: [1, 2, 0, 1] })],
    ["one with auto_pad VALID", (b, x) => conv(b, padded(b, x, around), { auto_pad: "VALID", strides: [2, 2] })],
    ["a dilated depthwise one", (b, x) => conv(b, padded(b, x, around), { dilations: [2, 2] }, 4)],
    [
      "one behind two Pads and an Identity",
      (b, x) => conv(b, b.node("Identity", [padded(b, padded(b, x, around), around)])),
    ],
    [
      "a Pad that names its axes",
      (b, x) => conv(b, b.node("Pad", [x, b.ints([2, 1, 0, 1]), b.scalar(0), b.ints([-1, 2])])),
    ],
    ["an average of all positions", (b, x) => pool("AveragePool", b, padded(b, x, around))],
    [
      "an average that counts its pads",
      (b, x) =>
        pool("AveragePool", b, padded(b, x, [0, 0, 1, 1, 0, 0, 1, 0]), { pads: [1, 1, 1, 1], count_include_pad: 1 }),
    ],
    ["a maximum of what a Relu gives", (b, x) => pool("MaxPool", b, padded(b, b.node("Relu", [x]), around))],
    ["a maximum behind the lowest number", (b, x) => pool("MaxPool", b, padded(b, x, around, -3.4028234663852886e38))],
  ] as const satisfies readonly (readonly [string, (b: Builder, x: string) => string])[])("%s", async (_, make) => {
    const graph = graphOf(make);
    const folded = foldPads(graph);
    expect(padsIn(graph)).toBeGreaterThan(0);
    expect(padsIn(folded)).toBe(0);
    await expectSame(graph, folded);
  });

  test("a Pad that others read too stays for them", async () => {
    const graph = graphOf((b, x) => {
      const pad = padded(b, x, [0, 0, 1, 1, 0, 0, 1, 1]);
      return b.node("Add", [conv(b, pad, { pads: [1, 1, 1, 1] }), pad]);
    });
    const folded = foldPads(graph);
    expect(folded.nodes.find(({ op }) => op === "Conv")?.inputs[0]).toBe("x");
    expect(padsIn(folded)).toBe(1);
    await expectSame(graph, folded);
  });

  test("sizes that the Pad hid are known behind it", () => {
    const build = buildOn();
    const x = build.input("x", { dtype: "float32", shape: ["N", 4, 7, 6] });
    const graph = build.graph([conv(build, padded(build, x, around))]);
    const hidden = new Map(graph.values).set(graph.outputs[0], { dtype: "float32", shape: ["N", 4, "a", "b"] });
    expect(foldPads({ ...graph, values: hidden }).values.get(graph.outputs[0])?.shape).toEqual(["N", 4, 8, 5]);
  });
});

test.each([
  ["another value than 0", (b, x) => conv(b, padded(b, x, around, 1))],
  [
    "channels",
    (b, x) => conv(b, b.node("Slice", [padded(b, x, [0, 1, 0, 0, 0, 0, 0, 0]), b.ints([0]), b.ints([4]), b.ints([1])])),
  ],
  [
    "channels of the convolution itself",
    (b, x) =>
      b.node("Conv", [padded(b, x, [0, 1, 0, 0, 0, 0, 0, 0]), b.constant(random.tensor("float32", [2, 5, 1, 1]))]),
  ],
  ["a cut", (b, x) => conv(b, padded(b, x, [0, 0, -1, 0, 0, 0, 2, 0]))],
  ["auto_pad SAME", (b, x) => conv(b, padded(b, x, around), { auto_pad: "SAME_UPPER" })],
  ["a maximum of negative values", (b, x) => pool("MaxPool", b, padded(b, x, around))],
  [
    "an average that leaves out its own pads",
    (b, x) => pool("AveragePool", b, padded(b, x, around), { pads: [1, 1, 1, 1] }),
  ],
  ["pads as long as the window", (b, x) => pool("AveragePool", b, padded(b, x, [0, 0, 3, 0, 0, 0, 0, 0]))],
  [
    "a window that begins behind the end",
    (b, x) => pool("MaxPool", b, padded(b, b.node("Relu", [x]), around), { ceil_mode: 1 }),
  ],
  ["reflection", (b, x) => conv(b, b.node("Pad", [x, b.ints(around)], { mode: "reflect" }))],
] as const satisfies readonly (readonly [string, (b: Builder, x: string) => string])[])(
  "%s stays as it is",
  async (_, make) => {
    const graph = graphOf(make);
    expect(foldPads(graph)).toBe(graph);
  },
);
