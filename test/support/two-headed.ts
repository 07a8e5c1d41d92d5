// A network as TensorFlow exports them: images channels last, a Transpose behind the input; class probabilities and a mask.
import type { Graph } from "../../src/ir/graph.ts";
import { writeOnnx } from "../../src/onnx/write.ts";
import { buildOn } from "../../src/ops/infer.ts";
import { createRandom } from "./random.ts";
import { tinyOrigin } from "./tiny-classifier.ts";

export const twoHeadedSize = 12;

/** x [batch, 12, 12, 3] → mask [batch, 2, 12, 12], probabilities [batch, 3]. */
export function twoHeadedGraph(batch: number | string = "N"): Graph {
  const random = createRandom(21);
  const build = buildOn();
  const weight = (name: string, ...shape: number[]): string =>
    build.constant(random.uniformTensor("float32", shape, -0.4, 0.4), name);
  const conv = (name: string, x: string, from: number, to: number): string =>
    build.node(
      "Conv",
      [x, weight(`${name}.weight`, to, from, 3, 3)],
      { kernel_shape: [3, 3], pads: [1, 1, 1, 1] },
      name,
    );
  const x = build.input("x", { dtype: "float32", shape: [batch, twoHeadedSize, twoHeadedSize, 3] });
  const image = build.node("Transpose", [x], { perm: [0, 3, 1, 2] }, "to_nchw");
  const trunk = build.node("Relu", [conv("trunk", image, 3, 8)], {}, "relu");
  const mask = build.node("Sigmoid", [conv("mask_conv", trunk, 8, 2)], {}, "mask");
  const pooled = build.node("Flatten", [build.node("GlobalAveragePool", [trunk])], { axis: 1 });
  const logits = build.node("Gemm", [pooled, weight("head.weight", 3, 8)], { transB: 1 }, "logits");
  return build.graph([mask, build.node("Softmax", [logits], { axis: -1 }, "probabilities")], "two-headed");
}

export const twoHeadedFile = (batch: number | string = "N"): Uint8Array =>
  writeOnnx({ graph: twoHeadedGraph(batch), origin: tinyOrigin }, { opset: 13 });
