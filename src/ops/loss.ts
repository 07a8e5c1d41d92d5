// Losses that ONNX has as one operator.
import type { Dim } from "../ir/graph.ts";
import { sizeOf, tensorOf } from "../ir/tensor.ts";
import { arithmetic } from "./arithmetic.ts";
import { mismatch, numberAttribute, printShape, stringAttribute, unsupported } from "./attributes.ts";
import { staticShape } from "./convolution-shape.ts";
import type { GradientContext, InferRule, OpDefinition } from "./definition.ts";
import { isStatic } from "./dims.ts";
import { floats, integers, optional, tied } from "./inputs.ts";
import { operand } from "./operands.ts";
import { costPerElement } from "./pointwise.ts";

const inferCrossEntropy: InferRule = (context) => {
  const { node, inputs } = context;
  const { dtype, shape } = operand(context, 0);
  const labels = operand(context, 1);
  const reduction = stringAttribute(node, "reduction", "mean");
  if (reduction !== "mean") throw unsupported(node, `reduction is "${reduction}"; only "mean" is supported.`);
  if (inputs[2]) throw unsupported(node, "class weights are not supported.");
  const expected = [shape[0], ...shape.slice(2)];
  const differs = (size: Dim, axis: number): boolean =>
    isStatic([size, labels.shape[axis]]) && size !== labels.shape[axis];
  if (shape.length < 2 || labels.shape.length !== expected.length || expected.some(differs))
    throw mismatch(
      node,
      `logits are ${printShape(shape)} and labels ${printShape(labels.shape)}; expected labels ${printShape(expected)}.`,
    );
  return [
    { dtype, shape: [] },
    { dtype, shape },
  ];
};

/** dlogits = dloss (softmax − onehot) / count, 0 where the label is ignored, plus dlogProb − softmax Σ dlogProb */
function crossEntropyGradient({ node, build, dys: [dloss, dlogProb], type }: GradientContext) {
  const [logits, labels] = node.inputs;
  const { add, sub, mul, div, cast, of } = arithmetic(build, logits);
  const shape = staticShape(node, "logits", type(logits).shape);
  const ignored = numberAttribute(node, "ignore_index");
  const softmax = build.node("Softmax", [logits], { axis: 1 });
  const ofLoss = (dy: string): string => {
    const classes = build.ints([shape[1]]);
    const bounds = build.constant(tensorOf(type(logits).dtype, [2], [0, 1]), "off_on");
    const oneHot = build.node("OneHot", [cast(labels, "int64"), classes, bounds], { axis: 1 });
    if (ignored === undefined) return mul(sub(softmax, oneHot), mul(dy, of(shape[1] / sizeOf(shape))));
    const isIgnored = build.node("Equal", [cast(labels, "int64"), build.ints([ignored])]);
    const counts = sub(of(1), cast(isIgnored, type(logits).dtype));
    const count = build.node("Max", [build.node("ReduceSum", [counts], { keepdims: 0 }), of(1)]);
    const kept = build.node("Unsqueeze", [counts, build.ints([1])]);
    return mul(mul(sub(softmax, oneHot), kept), div(dy, count));
  };
  const ofLogProb = (dy: string): string =>
    sub(dy, mul(softmax, build.node("ReduceSum", [dy, build.ints([1])], { keepdims: 1 })));
  const gradients = [dloss && ofLoss(dloss), dlogProb && ofLogProb(dlogProb)].filter((part) => part !== undefined);
  return gradients.length === 0 ? [] : [gradients.reduce(add)];
}

/**
 * Mean of −log softmax(logits)[label] over all labels but those of `ignore_index`, 0 where there are no others; the second output
 * is log softmax(logits).
 */
export const SoftmaxCrossEntropyLoss: OpDefinition = {
  introduced: 12,
  inputs: [tied(floats), integers, optional(tied(floats))],
  outputs: 2,
  sampleAxis: "coupled",
  movesValues: false,
  infer: inferCrossEntropy,
  gradient: crossEntropyGradient,
  cost: costPerElement,
};
