// A network of depthwise separable convolutions for 32 × 32 images, as MobileNets are built: the third model of the step benches.
import type { Graph } from "../../src/ir/graph.ts";
import { buildOn } from "../../src/ops/infer.ts";
import { convolution } from "./convolution.ts";
import { filled, uniform } from "./tensors.ts";

/** Channels and stride of each depthwise separable block. */
const blocks = [
  [64, 1],
  [128, 2],
  [128, 1],
  [256, 2],
  [256, 1],
] as const;

/** Input `x` [batch, 3, 32, 32], output the scores [batch, 10]. Weights are random and seeded. */
export function depthwiseNetwork(): Graph {
  const build = buildOn();
  let channels = 32;
  let x = convolution(build, build.input("x", { dtype: "float32", shape: ["batch", 3, 32, 32] }), "stem", {
    channels,
    size: 3,
  });
  blocks.forEach(([next, stride], i) => {
    x = convolution(build, x, `depthwise${i}`, { channels, size: 3, stride, group: channels });
    x = convolution(build, x, `pointwise${i}`, { channels: next, size: 1 });
    channels = next;
  });
  const pooled = build.node("Flatten", [build.node("GlobalAveragePool", [x])]);
  const weight = build.constant(uniform([channels, 10], channels ** -0.5, 10), "classifier.weight");
  const bias = build.constant(filled([10], 0), "classifier.bias");
  return build.graph([build.node("Gemm", [pooled, weight, bias], {}, "classifier")], "depthwise network");
}
