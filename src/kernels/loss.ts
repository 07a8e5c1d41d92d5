// Losses that ONNX has as one operator.
import { assert, FrostbitError } from "../ir/errors.ts";
import { describeNode } from "../ir/graph.ts";
import { sizeOf, toNumbers } from "../ir/tensor.ts";
import { numberAttribute } from "../ops/attributes.ts";
import { float64Of, fromFloat64 } from "./float64.ts";
import type { Kernel } from "./kernel.ts";

/** log softmax along the middle axis of [batch, classes, positions]. */
function logSoftmax(x: Float64Array, batch: number, classes: number, positions: number): Float64Array {
  const result = new Float64Array(x.length);
  for (let n = 0; n < batch; n++)
    for (let p = 0; p < positions; p++) {
      const start = n * classes * positions + p;
      const end = start + classes * positions;
      let max = Number.NEGATIVE_INFINITY;
      for (let i = start; i < end; i += positions) max = Math.max(max, x[i]);
      let sum = 0;
      for (let i = start; i < end; i += positions) sum += Math.exp(x[i] - max);
      const logSum = max + Math.log(sum);
      for (let i = start; i < end; i += positions) result[i] = x[i] - logSum;
    }
  return result;
}

const SoftmaxCrossEntropyLoss: Kernel = ([logits, labels], node) => {
  assert(logits && labels, "SoftmaxCrossEntropyLoss without logits or labels");
  const [batch, classes] = logits.shape;
  const positions = sizeOf(logits.shape.slice(2));
  const logProb = logSoftmax(float64Of(logits, node), batch, classes, positions);
  const ignored = numberAttribute(node, "ignore_index");
  const picked = toNumbers(labels).flatMap((label, i) => {
    if (label === ignored) return [];
    if (label < 0 || label >= classes)
      throw new FrostbitError(
        "BAD_DATA",
        `${describeNode(node)}: label ${label} is no class of its ${classes}; expected 0 to ${classes - 1}.`,
      );
    const n = Math.floor(i / positions);
    return logProb[(n * classes + label) * positions + (i % positions)];
  });
  const mean = -picked.reduce((sum, value) => sum + value, 0) / Math.max(1, picked.length);
  return [
    fromFloat64(logits.dtype, [], Float64Array.of(mean), node),
    fromFloat64(logits.dtype, logits.shape, logProb, node),
  ];
};

export const lossKernels = { SoftmaxCrossEntropyLoss } satisfies Record<string, Kernel>;
