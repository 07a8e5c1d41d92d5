import { describe, expect, test } from "vitest";
import { expectClose } from "../../../test/support/close.ts";
import { quantizeBytes } from "../../../test/support/quantize-bytes.ts";
import { createRandom } from "../../../test/support/random.ts";
import { runGraph } from "../../../test/support/run-graph.ts";
import { tinyOrigin } from "../../../test/support/tiny-classifier.ts";
import { createReferenceEngine } from "../../engines/reference/reference-engine.ts";
import type { Graph } from "../../ir/graph.ts";
import { numbersOf, type Tensor, tensorOf } from "../../ir/tensor.ts";
import { writeOnnx } from "../../onnx/write.ts";
import { buildOn } from "../../ops/infer.ts";
import { smoothLayers, smoothPlaces } from "../../quantizers/smooth-layers.ts";
import { smoothFactors } from "./method.ts";

const channels = 12;
const engine = createReferenceEngine();
const inputs = new Map([["x", createRandom(3).tensor("float32", [16, 5, channels])]]);

const isOutlier = (channel: number): boolean => channel % 6 === 2;

/** Two products read a normalization with two outlier channels, which count as much as the others, and so does a sum where it is post-norm; a third reads the sum. */
function encoder(isPostNorm: boolean, op: "LayerNormalization" | "RMSNormalization" = "LayerNormalization"): Graph {
  const random = createRandom(5);
  const build = buildOn();
  const x = build.input("x", { dtype: "float32", shape: ["N", 5, channels] });
  const gamma = tensorOf(
    "float32",
    [channels],
    Array.from({ length: channels }, (_, c) => (isOutlier(c) ? 60 : 1)),
  );
  const constant = (name: string, ...shape: number[]): string =>
    build.constant(random.uniformTensor("float32", shape, -0.3, 0.3), name);
  const reading = (name: string): string => {
    const weight = random.uniformTensor("float32", [channels, 24], -0.3, 0.3);
    const rows = Array.from(numbersOf(weight), (w, i) => (isOutlier(Math.floor(i / 24)) ? w / 60 : w));
    return build.constant(tensorOf("float32", weight.shape, rows), name);
  };
  const parameters = [
    build.constant(gamma, "gamma"),
    ...(op === "LayerNormalization" ? [constant("beta", channels)] : []),
  ];
  const norm = build.node(op, [x, ...parameters], { axis: -1 }, "norm");
  const up = build.node("Relu", [build.node("MatMul", [norm, reading("up.weight")], {}, "up")]);
  const gate = build.node("MatMul", [norm, reading("gate.weight")], {}, "gate");
  const down = build.node("MatMul", [build.node("Mul", [up, gate]), constant("down.weight", 24, channels)], {}, "down");
  return build.graph([isPostNorm ? build.node("Add", [down, norm], {}, "sum") : down]);
}

/** By channel, of what the products read in this graph. */
async function largestOf(graph: Graph, value: string): Promise<number[]> {
  const found = (await runGraph(engine, { ...graph, outputs: [value] }, inputs)).get(value) as Tensor;
  const largest = new Array<number>(channels).fill(0);
  numbersOf(found).forEach((each, i) => {
    largest[i % channels] = Math.max(largest[i % channels], Math.abs(each));
  });
  return largest;
}

describe.each([
  ["before the residual is read", encoder(false)],
  ["where the residual reads the normalization", encoder(true)],
  ["RMS", encoder(true, "RMSNormalization")],
])("%s", (_, graph) => {
  test("the function stays the same, and channels come nearer to each other", async () => {
    const places = smoothPlaces(graph);
    expect(places.map(({ layers }) => layers.map(({ name }) => name))).toEqual([["up", "gate"]]);
    const before = await largestOf(graph, "norm");
    const smooth = smoothLayers(
      graph,
      new Map(places.map((place) => [place, smoothFactors(graph, place, before, 0.5)])),
    );
    const output = async (each: Graph): Promise<Tensor> =>
      (await runGraph(engine, each, inputs)).get(each.outputs[0]) as Tensor;
    expectClose(await output(smooth), await output(graph), {
      widen: { factor: 10, because: "factors are rounded to float32 in weights and normalization" },
    });
    const [read] = smooth.nodes.filter(({ name }) => name === "up").map(({ inputs: [value] }) => value);
    const after = await largestOf(smooth, read);
    const spreadOf = (values: readonly number[]): number => Math.max(...values) / Math.min(...values);
    expect(spreadOf(after)).toBeLessThan(spreadOf(before) / 4);
    // At α = 1/2 weights and activations have the same largest magnitude, √(max|x| max|w|).
    const weights = smooth.constants.get("up.weight") as Tensor;
    const gates = smooth.constants.get("gate.weight") as Tensor;
    after.forEach((most, c) => {
      const rows = [weights, gates].flatMap((each) =>
        Array.from(numbersOf(each).slice(c * 24, (c + 1) * 24), Math.abs),
      );
      expect(Math.max(...rows) / most).toBeCloseTo(1, 4);
    });
  });

  test("in 8 bits less is lost", async () => {
    const bytes = writeOnnx({ graph, origin: tinyOrigin }, { opset: 23 });
    const run = async (methods: readonly string[]): Promise<number> =>
      (await quantizeBytes(bytes, inputs, { methods })).outputs[0].sqnrDb;
    expect(await run(["smooth-quant"])).toBeGreaterThan((await run([])) + 3);
  });
});

test("normalizations whose parameters others read, and products of other values, are left as they are", () => {
  const build = buildOn();
  const x = build.input("x", { dtype: "float32", shape: ["N", 4] });
  const gamma = build.constant(tensorOf("float32", [4], [1, 1, 1, 1]), "gamma");
  const weight = (name: string): string => build.constant(createRandom(1).tensor("float32", [4, 4]), name);
  const first = build.node("RMSNormalization", [x, gamma], { axis: -1 });
  const second = build.node("RMSNormalization", [build.node("MatMul", [first, weight("a")]), gamma], { axis: -1 });
  expect(smoothPlaces(build.graph([build.node("MatMul", [build.node("Relu", [second]), weight("b")])]))).toEqual([]);
});
