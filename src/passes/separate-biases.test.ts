import { describe, expect, test } from "vitest";
import { sqnr } from "../../test/support/close.ts";
import { exportQuantized, origin } from "../../test/support/export-quantized.ts";
import { createRandom } from "../../test/support/random.ts";
import { runModel } from "../../test/support/run-model.ts";
import type { Graph } from "../ir/graph.ts";
import { type Tensor, toNumbers } from "../ir/tensor.ts";
import { writeOnnx } from "../onnx/write.ts";
import { buildOn } from "../ops/infer.ts";
import { separateBiases } from "./separate-biases.ts";

const random = createRandom(17);
const weight = random.tensor("float32", [8, 8]);

/** x [8, 8] → Gemm with a bias of this shape, or with its own weight as bias → y */
function gemm(bias: readonly number[] | "weight"): Graph {
  const build = buildOn();
  const x = build.input("x", { dtype: "float32", shape: [8, 8] });
  const w = build.constant(weight, "w");
  const c = bias === "weight" ? w : build.constant(random.tensor("float32", bias), "c");
  return build.graph([build.node("Gemm", [x, w, c], { alpha: 0.5, beta: 2 }, "y")]);
}

const shapes = [[], [1], [8], [1, 8], [1, 1], [8, 1], [8, 8], "weight"] as const;

describe.each(["inputs", "runtime"] as const)("placement %s", (placement) => {
  test.each(shapes)("a Gemm with a bias of shape %j is quantized to what it was", async (shape) => {
    const float = gemm(shape);
    const { bytes, inputs } = await exportQuantized(float, { placement });
    const [actual, expected] = await Promise.all(
      [bytes, writeOnnx({ graph: float, origin }, { opset: 20 })].map(async (file) =>
        toNumbers((await runModel(file, inputs)).get("y") as Tensor),
      ),
    );
    expect(sqnr(actual, expected)).toBeGreaterThan(30);
  });
});

test("biases with one number for each channel, or for all, stay as they are", () => {
  for (const shape of [[], [1], [8], [1, 8]]) {
    const graph = gemm(shape);
    expect(separateBiases(graph)).toBe(graph);
  }
});
