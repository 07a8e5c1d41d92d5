// Transposed convolutions in groups are quantized: each output channel of a depthwise one has a scale, others share theirs between groups.
import { describe, expect, test } from "vitest";
import { createReferenceEngine } from "../../src/engines/reference/reference-engine.ts";
import { inspectModel } from "../../src/inspect/inspect-model.ts";
import type { Graph } from "../../src/ir/graph.ts";
import { numbersOf, type Tensor, tensorOf } from "../../src/ir/tensor.ts";
import { readOnnx } from "../../src/onnx/read.ts";
import { writeOnnx } from "../../src/onnx/write.ts";
import { buildOn } from "../../src/ops/infer.ts";
import { foldQuantizers } from "../../src/quantizers/fold.ts";
import { sqnr } from "../support/close.ts";
import { exportQuantized, origin } from "../support/export-quantized.ts";
import { createRandom } from "../support/random.ts";
import { runGraph } from "../support/run-graph.ts";
import { runModel } from "../support/run-model.ts";

/** x [N, inputs, 5, 5] → ConvTranspose with bias → normalization → Relu. Channels differ in size by their powers of 4. */
function upsampling(group: number, [inputs, perGroup]: readonly [number, number]): Graph {
  const random = createRandom(11);
  const build = buildOn();
  const channels = group * perGroup;
  const weight = random.tensor("float32", [inputs, perGroup, 3, 3]);
  const channelOf = (i: number): number =>
    Math.floor(i / (9 * perGroup) / (inputs / group)) * perGroup + (Math.floor(i / 9) % perGroup);
  const spread = Array.from(numbersOf(weight), (value, i) => value * 4 ** (channelOf(i) % perGroup));
  const vector = (mean: number): string =>
    build.constant(
      tensorOf(
        "float32",
        [channels],
        Array.from({ length: channels }, () => mean + 0.2 * random.normal()),
      ),
    );
  const x = build.input("x", { dtype: "float32", shape: ["N", inputs, 5, 5] });
  const layer = build.node(
    "ConvTranspose",
    [x, build.constant(tensorOf("float32", weight.shape, spread), "up.weight"), vector(0)],
    { group, strides: [2, 2] },
    "up",
  );
  const norm = build.node("BatchNormalization", [layer, vector(1), vector(0), vector(0), vector(2)], {}, "norm");
  return build.graph([build.node("Relu", [norm], {}, "y")]);
}

const forms = [
  [6, [6, 1], [6]],
  [2, [8, 3], [3]],
  [2, [8, 1], [1]],
  [3, [3, 2], [2]],
  [1, [4, 3], [3]],
] as const;

describe.each(forms)("in %i groups, weight %j", (group, shape, scales) => {
  const float = upsampling(group, shape);

  test.each(["inputs", "runtime"] as const)("the file computes what is quantized, placement %s", async (placement) => {
    const { bytes, graph, inputs } = await exportQuantized(float, { placement });
    expect(inspectModel(float).notQuantizable).toEqual([]);
    const engine = createReferenceEngine();
    const [expected, unfolded] = await Promise.all(
      [foldQuantizers(graph, placement === "runtime" ? "int32" : "float").graph, graph].map((each) =>
        runGraph(engine, each, inputs),
      ),
    );
    const actual = await runModel(bytes, inputs);
    const original = await runModel(writeOnnx({ graph: float, origin }, { opset: 20 }), inputs);
    const dbOf = (other: ReadonlyMap<string, Tensor>): number =>
      sqnr(numbersOf(actual.get("y") as Tensor), numbersOf(other.get("y") as Tensor));
    expect(dbOf(expected)).toBeGreaterThan(80);
    expect(dbOf(unfolded)).toBeGreaterThan(35);
    expect(dbOf(original)).toBeGreaterThan(30);
    const written = readOnnx(bytes, { name: "up.onnx" }).graph;
    const dequantize = written.nodes.find(({ inputs: [codes] }) => written.constants.get(codes)?.dtype === "int8");
    // One scale may be written without an axis.
    const { shape = [0] } = written.values.get(dequantize?.inputs[1] ?? "") ?? {};
    expect(shape.length === 0 ? [1] : shape).toEqual(scales);
  });
});
