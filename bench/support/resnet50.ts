// ResNet-50 for 224 × 224 images (He et al. 2016, the stride in the 3 × 3 convolution): the largest model of the step benches.
import type { Builder } from "../../src/ir/builder.ts";
import type { Graph } from "../../src/ir/graph.ts";
import { buildOn } from "../../src/ops/infer.ts";
import { type Convolution, convolution } from "./convolution.ts";
import { filled, uniform } from "./tensors.ts";

/** Channels inside the blocks, how many blocks, and the stride of the first. */
const stages = [
  [64, 3, 1],
  [128, 4, 2],
  [256, 6, 2],
  [512, 3, 2],
] as const;

/** Input `x` [batch, 3, 224, 224], output the scores [batch, 1000]. Weights are random and seeded. */
export function resnet50(): Graph {
  const build = buildOn();
  const image = build.input("x", { dtype: "float32", shape: ["batch", 3, 224, 224] });
  const stem = convolution(build, image, "stem", { channels: 64, size: 7, stride: 2 });
  let x = build.node("MaxPool", [stem], { kernel_shape: [3, 3], pads: [1, 1, 1, 1], strides: [2, 2] });
  stages.forEach(([channels, count, first], stage) => {
    for (let i = 0; i < count; i++) x = bottleneck(build, x, `stage${stage}.${i}`, channels, i === 0 ? first : 1);
  });
  const pooled = build.node("Flatten", [build.node("GlobalAveragePool", [x])]);
  const weight = build.constant(uniform([2048, 1000], 2048 ** -0.5, 10), "classifier.weight");
  const bias = build.constant(filled([1000], 0), "classifier.bias");
  return build.graph([build.node("Gemm", [pooled, weight, bias], {}, "classifier")], "ResNet-50");
}

function bottleneck(build: Builder, x: string, name: string, channels: number, stride: number): string {
  const next = (value: string, part: string, shape: Convolution): string =>
    convolution(build, value, `${name}.${part}`, shape);
  const outputs = { channels: 4 * channels, size: 1, isActive: false };
  const inner = next(next(x, "reduce", { channels, size: 1 }), "spread", { channels, size: 3, stride });
  const isSame = Number(build.type(x).shape[1]) === outputs.channels;
  const short = isSame ? x : next(x, "short", { ...outputs, stride });
  return build.node("Relu", [build.node("Add", [next(inner, "expand", outputs), short])]);
}
