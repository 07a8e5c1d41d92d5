import { describe, expect, test } from "vitest";
import { expectClose } from "../../test/support/close.ts";
import { exportQuantized, origin } from "../../test/support/export-quantized.ts";
import { createRandom } from "../../test/support/random.ts";
import { runGraph } from "../../test/support/run-graph.ts";
import { runModel } from "../../test/support/run-model.ts";
import { createReferenceEngine } from "../engines/reference/reference-engine.ts";
import type { Graph } from "../ir/graph.ts";
import type { Tensor } from "../ir/tensor.ts";
import { writeOnnx } from "../onnx/write.ts";
import { buildOn } from "../ops/infer.ts";
import { matrixWeights } from "./matrix-weights.ts";

const random = createRandom(9);
const weight = random.tensor("float32", [16, 12]);

/** x → MatMul with the weight in this shape → y */
function product(x: readonly number[], shape: readonly number[], reshapesWeight = false): Graph {
  const build = buildOn();
  const input = build.input("x", { dtype: "float32", shape: x });
  const w = build.constant({ ...weight, shape }, "layer.weight");
  const y = build.node("MatMul", [input, w], {}, "y");
  return build.graph(reshapesWeight ? [y, build.node("Mul", [w, build.scalar(2)], {}, "twice")] : [y]);
}

describe("a matrix behind axes of size 1", () => {
  test.each([
    [
      [3, 5, 16],
      [1, 16, 12],
    ],
    [
      [2, 3, 5, 16],
      [1, 16, 12],
    ],
    [
      [2, 3, 5, 16],
      [1, 1, 16, 12],
    ],
    [
      [5, 16],
      [1, 16, 12],
    ],
    [
      [3, 5, 16],
      [1, 1, 1, 16, 12],
    ],
    [[16], [1, 16, 12]],
    [[16], [1, 1, 16, 12]],
  ])("x %j, weight %j: the product is ONNX Runtime's of the model as it was", async (x, shape) => {
    const graph = product(x, shape);
    const changed = matrixWeights(graph);
    expect(changed.constants.get("layer.weight")?.shape).toEqual([16, 12]);
    const inputs = new Map([["x", random.tensor("float32", x)]]);
    const expected = (await runModel(writeOnnx({ graph, origin }, { opset: 20 }), inputs)).get("y") as Tensor;
    const actual = (await runGraph(createReferenceEngine(), changed, inputs)).get("y") as Tensor;
    expect(actual.shape).toEqual(expected.shape);
    expectClose(actual, expected);
  });

  test("stays for others that read it", () => {
    const { constants } = matrixWeights(product([5, 16], [1, 16, 12], true));
    expect(constants.get("layer.weight")?.shape).toEqual([1, 16, 12]);
    expect(constants.get("layer.weight:matrix")?.shape).toEqual([16, 12]);
  });

  test.each(["inputs", "runtime"] as const)("makes a file of the same size, placement %s", async (placement) => {
    const sizes = await Promise.all(
      [
        [16, 12],
        [1, 16, 12],
        [1, 1, 16, 12],
      ].map(async (shape) => {
        const { bytes } = await exportQuantized(product([2, 3, 5, 16], shape), { placement });
        return bytes.length;
      }),
    );
    expect(sizes[1]).toBe(sizes[0]);
    expect(sizes[2]).toBe(sizes[0]);
  });
});

test("several matrices stay as they are", () => {
  const build = buildOn();
  const x = build.input("x", { dtype: "float32", shape: [2, 5, 16] });
  const graph = build.graph([build.node("MatMul", [x, build.constant(random.tensor("float32", [2, 16, 12]))])]);
  expect(matrixWeights(graph)).toBe(graph);
});
