// Recurrent layers: integers in the file, floats in the runtime, beside layers with integer kernels.
import { describe, expect, test } from "vitest";
import { expectClose } from "../../test/support/close.ts";
import { exportQuantized } from "../../test/support/export-quantized.ts";
import { optimizedNodes } from "../../test/support/optimized-graph.ts";
import { createRandom } from "../../test/support/random.ts";
import { runGraph } from "../../test/support/run-graph.ts";
import { runModel } from "../../test/support/run-model.ts";
import { createReferenceEngine } from "../engines/reference/reference-engine.ts";
import type { Graph } from "../ir/graph.ts";
import { numbersOf, sizeOf, type Tensor } from "../ir/tensor.ts";
import { readOnnx } from "../onnx/read.ts";
import { buildOn } from "../ops/infer.ts";

const gatesOf = { LSTM: 4, GRU: 3, RNN: 1 } as const;
type Op = keyof typeof gatesOf;
const [size, hidden] = [16, 40];

/** x [batch, steps, size] → the last state of a layer, both ways → a classifier, as PyTorch exports it with the batch first. */
function classifier(op: Op): Graph {
  const build = buildOn();
  const random = createRandom(3);
  const weight = (name: string, shape: readonly number[]): string => {
    const value = random.tensor("float32", shape);
    return build.constant({ ...value, data: (value.data as Float32Array).map((each) => each / 6) }, name);
  };
  const rows = gatesOf[op] * hidden;
  const x = build.input("x", { dtype: "float32", shape: ["N", 5, size] });
  const steps = build.node("Transpose", [x], { perm: [1, 0, 2] });
  const inputs = [
    steps,
    weight("w.weight", [2, rows, size]),
    weight("r.weight", [2, rows, hidden]),
    weight("b", [2, 2 * rows]),
  ];
  const [, last] = build.nodes(op, inputs, [false, true], { hidden_size: hidden, direction: "bidirectional" });
  const flat = build.node("Reshape", [
    build.node("Transpose", [last], { perm: [1, 0, 2] }),
    build.ints([-1, 2 * hidden]),
  ]);
  return build.graph([build.node("MatMul", [flat, weight("head.weight", [2 * hidden, 3])], {}, "y")]);
}

const weightsIn = (bytes: Uint8Array): readonly string[] =>
  [...readOnnx(bytes, { name: "recurrent.onnx" }).graph.constants.values()]
    .filter(({ shape }) => shape.length === 3 && sizeOf(shape) > 1000)
    .map(({ dtype }) => dtype);

describe.each(["LSTM", "GRU", "RNN"] as const)("%s", (op) => {
  test("has weights of 8 bits in the file, and runs as in float in ONNX Runtime", async () => {
    const float = classifier(op);
    const { bytes, graph, inputs } = await exportQuantized(float, { placement: "runtime" });
    const elements = 2 * gatesOf[op] * hidden * (size + hidden);
    expect(bytes.length).toBeLessThan(elements + 4 * 2 * 2 * gatesOf[op] * hidden + 6000);
    const kernels = (await optimizedNodes(bytes)).map(({ opType }) => opType);
    expect(kernels).toContain(op);
    expect(kernels).not.toContain("Cast");
    expect(kernels).not.toContain("Mul");
    const engine = createReferenceEngine();
    const deployed = (await runModel(bytes, inputs)).get("y") as Tensor;
    expectClose(deployed, (await runGraph(engine, graph, inputs)).get("y") as Tensor, {
      widen: { factor: 100, because: "a quantizer rounds what is between two steps either way" },
    });
    const wanted = numbersOf((await runGraph(engine, float, inputs)).get("y") as Tensor);
    const found = numbersOf(deployed);
    const noise = Array.from(wanted, (value, i) => (value - found[i]) ** 2).reduce((a, b) => a + b);
    const energy = Array.from(wanted, (value) => value ** 2).reduce((a, b) => a + b);
    expect(10 * Math.log10(energy / noise)).toBeGreaterThan(25);
  });

  test("keeps what layers names in float", async () => {
    const { bytes } = await exportQuantized(classifier(op), { layers: { w: "float", r: "float" } });
    expect(weightsIn(bytes)).toEqual(["float32", "float32"]);
  });
});
