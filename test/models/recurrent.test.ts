// Recurrent layers train: a layer before one, its own weights and one behind it, on both engines.
import { describe, expect, test } from "vitest";
import { createOnnxRuntimeEngine } from "../../src/engines/onnxruntime/onnxruntime-engine.ts";
import { createReferenceEngine } from "../../src/engines/reference/reference-engine.ts";
import type { Graph } from "../../src/ir/graph.ts";
import { numbersOf, type Tensor, tensorOf } from "../../src/ir/tensor.ts";
import { buildOn } from "../../src/ops/infer.ts";
import { createRandom } from "../support/random.ts";
import { quantizeTiny } from "../support/tiny-classifier.ts";
import { trainOn } from "./train.ts";

const gatesOf = { LSTM: 4, GRU: 3, RNN: 1 } as const;
type Op = keyof typeof gatesOf;
const [steps, size, hidden, classes] = [6, 5, 7, 3];

/** input [batch, steps, 4] → MatMul → a layer both ways → its last states → scores. */
function classifier(op: Op): Graph {
  const build = buildOn();
  const random = createRandom(3);
  const weight = (name: string, shape: readonly number[]): string =>
    build.constant(random.uniformTensor("float32", shape, -0.5, 0.5), name);
  const x = build.input("input", { dtype: "float32", shape: ["N", steps, 4] });
  const mixed = build.node("MatMul", [x, weight("first.weight", [4, size])]);
  const rows = gatesOf[op] * hidden;
  const inputs = [
    build.node("Transpose", [mixed], { perm: [1, 0, 2] }),
    weight("w", [2, rows, size]),
    weight("r", [2, rows, hidden]),
    weight("b", [2, 2 * rows]),
  ];
  const [, last] = build.nodes(op, inputs, [false, true], { hidden_size: hidden, direction: "bidirectional" });
  const states = build.node("Transpose", [last], { perm: [1, 0, 2] });
  const flat = build.node("Reshape", [states, build.ints([-1, 2 * hidden])]);
  return build.graph([build.node("MatMul", [flat, weight("head.weight", [2 * hidden, classes])], {}, "logits")]);
}

const random = createRandom(8);
const batch = {
  images: random.tensor("float32", [8, steps, 4]),
  labels: tensorOf("int64", [8], [0, 1, 2, 0, 1, 2, 0, 1]),
};

describe.each(["LSTM", "GRU", "RNN"] as const)("%s", (op) => {
  test.each([
    ["in float", (graph: Graph) => graph] as const,
    ["quantized", (graph: Graph) => quantizeTiny(graph, {})] as const,
  ])("%s: both engines' losses agree at first, and fall", async (_, of) => {
    const graph = of(classifier(op));
    const dtype = "float32";
    const slow = await trainOn(batch, graph, { engine: createReferenceEngine(), dtype });
    const fast = await trainOn(batch, graph, { engine: createOnnxRuntimeEngine(), dtype, steps: 12 });
    expect(Math.abs(fast.losses[0] / slow.losses[0] - 1)).toBeLessThan(1e-3);
    expect(fast.losses[11], fast.losses.join(", ")).toBeLessThan(0.985 * fast.losses[0]);
    const moved = (name: string): boolean =>
      String(numbersOf(fast.variables.get(name) as Tensor)) !== String(numbersOf(graph.constants.get(name) as Tensor));
    expect(["first.weight", "w", "r", "b", "head.weight"].filter((name) => !moved(name))).toEqual([]);
  });
});
