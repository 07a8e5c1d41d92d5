// Batch, layer and instance normalization.

import type { Builder } from "../ir/builder.ts";
import { assert } from "../ir/errors.ts";
import type { Dim, Node, ValueType } from "../ir/graph.ts";
import { arithmetic } from "./arithmetic.ts";
import { mismatch, numberAttribute, printShape, unsupported } from "./attributes.ts";
import type { GradientContext, InferContext, InferRule, OpDefinition } from "./definition.ts";
import { operand, resolveAxis } from "./operands.ts";
import { costPerElement } from "./pointwise.ts";
import { allAxesButChannels, sumOver } from "./rows.ts";

const epsilonOf = (node: Node): number => numberAttribute(node, "epsilon", 1e-5);

/** Throws unless every input from 1 on has one element per channel. */
function checkChannels({ node, inputs }: InferContext, x: ValueType): Dim {
  const channels = x.shape[1];
  if (channels === undefined) throw mismatch(node, `its input is ${printShape(x.shape)}; expected at least 2 axes.`);
  for (const [i, type] of inputs.entries()) {
    if (i === 0 || type === undefined) continue;
    const isKnown = typeof channels === "number" && typeof type.shape[0] === "number";
    if (type.shape.length !== 1 || (isKnown && type.shape[0] !== channels))
      throw mismatch(node, `input "${node.inputs[i]}" is ${printShape(type.shape)}; expected [${channels}].`);
  }
  return channels;
}

/** A value with one element per channel, shaped to multiply x. */
function perChannel(build: Builder, value: string, x: string): string {
  const rank = build.type(x).shape.length;
  const channels = build.type(value).shape[0];
  const shape = Array.from({ length: rank }, (_, axis) =>
    axis === 1 ? (typeof channels === "number" ? channels : -1) : 1,
  );
  return build.node("Reshape", [value, build.ints(shape)]);
}

const inferBatchNormalization: InferRule = (context) => {
  const x = operand(context, 0);
  checkChannels(context, x);
  if (numberAttribute(context.node, "training_mode", 0) === 1)
    throw unsupported(context.node, "training_mode is 1. Export the model in inference mode.");
  return [{ dtype: x.dtype, shape: x.shape }];
};

/** y = (x − mean) · r · scale + bias, r = 1/√(variance + ε): dscale = r Σ dy (x − mean), dvariance = −½ scale r³ Σ dy (x − mean) */
function batchNormalizationGradient({ node, build, dys: [dy], wants, type }: GradientContext) {
  if (dy === undefined) return [];
  const [x, scale, , mean, variance] = node.inputs;
  const { add, sub, mul, div, neg, call, of } = arithmetic(build, dy);
  const axes = allAxesButChannels(type(x).shape.length);
  const wanted = (input: number): boolean => wants(input) !== "none";
  const inverse = div(of(1), call("Sqrt", add(variance, of(epsilonOf(node)))));
  const factor = mul(scale, inverse);
  const sumDy = wanted(2) || wanted(3) ? sumOver(build, dy, axes) : "";
  const centred = (): string => sumOver(build, mul(dy, sub(x, perChannel(build, mean, x))), axes);
  const sumCentred = wanted(1) || wanted(4) ? centred() : "";
  return [
    wanted(0) ? mul(dy, perChannel(build, factor, x)) : undefined,
    wanted(1) ? mul(sumCentred, inverse) : undefined,
    wanted(2) ? sumDy : undefined,
    wanted(3) ? neg(mul(sumDy, factor)) : undefined,
    wanted(4) ? mul(sumCentred, factor, inverse, inverse, of(-0.5)) : undefined,
  ];
}

export const BatchNormalization: OpDefinition = {
  infer: inferBatchNormalization,
  gradient: batchNormalizationGradient,
  cost: costPerElement,
};

/** Normalizes by the batch's own statistics and gives them: y, mean, biased variance. */
export const BatchNormalizationTraining: OpDefinition = {
  infer: (context) => {
    const x = operand(context, 0);
    const statistic = { dtype: x.dtype, shape: [checkChannels(context, x)] };
    return [{ dtype: x.dtype, shape: x.shape }, statistic, statistic];
  },
  gradient: ({ node, build, dys: [dy, dmean, dvariance], wants }) => {
    assert(dmean === undefined && dvariance === undefined, `a gradient reaches the statistics of "${node.name}"`);
    if (dy === undefined) return [];
    const [x, gamma] = node.inputs;
    const [, mean, variance] = node.outputs;
    assert(mean && variance, `"${node.name}" must give its mean and variance to be differentiated`);
    const wanted = [0, 1, 2].map((i) => wants(i) !== "none");
    const inputs = [dy, x, gamma, mean, variance];
    const epsilon = epsilonOf(node);
    const gradients = build.nodes("BatchNormalizationTrainingGradient", inputs, wanted, { epsilon });
    return gradients.map((name) => name || undefined);
  },
  cost: costPerElement,
};

/** dx, dgamma and dbeta of BatchNormalizationTraining, through its statistics. */
export const BatchNormalizationTrainingGradient: OpDefinition = {
  infer: (context) => {
    const { dtype, shape } = operand(context, 1);
    const gamma = operand(context, 2);
    const parameter = { dtype, shape: gamma.shape };
    return [{ dtype, shape }, parameter, parameter];
  },
  gradient: "none",
  cost: ([dy = []]) => ({ multiplyAdds: 3 * dy.reduce((a, b) => a * b, 1) }),
};

interface Standardized {
  readonly normalized: string;
  readonly inverse: string;
}

/** (x − mean) / √(variance + ε) over `axes`. */
function standardize(build: Builder, x: string, axes: readonly number[], epsilon: number): Standardized {
  const { add, sub, mul, div, call, of } = arithmetic(build, x);
  const meanOf = (value: string): string => build.node("ReduceMean", [value, build.ints(axes)], { keepdims: 1 });
  const centred = sub(x, meanOf(x));
  const inverse = div(of(1), call("Sqrt", add(meanOf(mul(centred, centred)), of(epsilon))));
  return { normalized: mul(centred, inverse), inverse };
}

/** dx = r (g − mean(g) − x̂ mean(g x̂)), where g is the gradient of x̂ */
function standardizedGradient(
  build: Builder,
  g: string,
  { normalized, inverse }: Standardized,
  axes: readonly number[],
): string {
  const { sub, mul } = arithmetic(build, g);
  const meanOf = (value: string): string => build.node("ReduceMean", [value, build.ints(axes)], { keepdims: 1 });
  return mul(inverse, sub(sub(g, meanOf(g)), mul(normalized, meanOf(mul(g, normalized)))));
}

function normalizedAxes(node: Node, rank: number): number[] {
  const first = resolveAxis(node, numberAttribute(node, "axis", -1), rank);
  return Array.from({ length: rank - first }, (_, i) => first + i);
}

/** Scale and bias have the sizes of the last axes of x. */
function checkTrailing(node: Node, x: readonly Dim[], parameter: ValueType | undefined): void {
  if (parameter === undefined) return;
  const expected = x.slice(x.length - parameter.shape.length);
  if (String(expected) === String(parameter.shape) || parameter.shape.every((dim) => dim === 1)) return;
  throw mismatch(node, `a parameter is ${printShape(parameter.shape)}; expected ${printShape(expected)}.`);
}

/** dscale = dy x̂, dbias = dy; dx as in `standardizedGradient` with g = dy scale */
export const LayerNormalization: OpDefinition = {
  infer: (context) => {
    const { dtype, shape } = operand(context, 0);
    operand(context, 1);
    const axes = normalizedAxes(context.node, shape.length);
    for (const parameter of context.inputs.slice(1)) checkTrailing(context.node, shape, parameter);
    const statistic: ValueType = { dtype, shape: shape.map((dim, axis) => (axes.includes(axis) ? 1 : dim)) };
    return [{ dtype, shape }, statistic, statistic];
  },
  gradient: ({ node, build, dys: [dy, dmean, dinverse], wants, type }) => {
    assert(dmean === undefined && dinverse === undefined, `a gradient reaches the statistics of "${node.name}"`);
    if (dy === undefined) return [];
    const [x, scale] = node.inputs;
    const { mul } = arithmetic(build, dy);
    const axes = normalizedAxes(node, type(x).shape.length);
    const needsX = wants(0) !== "none" || wants(1) !== "none";
    const standardized = needsX ? standardize(build, x, axes, epsilonOf(node)) : { normalized: "", inverse: "" };
    return [
      wants(0) === "none" ? undefined : standardizedGradient(build, mul(dy, scale), standardized, axes),
      wants(1) === "none" ? undefined : mul(dy, standardized.normalized),
      wants(2) === "none" ? undefined : dy,
    ];
  },
  cost: costPerElement,
};

/** As LayerNormalization, over the spatial axes of each channel: dscale = Σ dy x̂, dbias = Σ dy */
export const InstanceNormalization: OpDefinition = {
  infer: (context) => {
    const { dtype, shape } = operand(context, 0);
    checkChannels(context, { dtype, shape });
    if (shape.length < 3) throw mismatch(context.node, `its input is ${printShape(shape)}; expected spatial axes.`);
    return [{ dtype, shape }];
  },
  gradient: ({ node, build, dys: [dy], wants, type }) => {
    if (dy === undefined) return [];
    const [x, scale] = node.inputs;
    const { mul } = arithmetic(build, dy);
    const others = allAxesButChannels(type(x).shape.length);
    const axes = others.slice(1);
    const needsX = wants(0) !== "none" || wants(1) !== "none";
    const standardized = needsX ? standardize(build, x, axes, epsilonOf(node)) : { normalized: "", inverse: "" };
    const dx = (): string => standardizedGradient(build, mul(dy, perChannel(build, scale, x)), standardized, axes);
    return [
      wants(0) === "none" ? undefined : dx(),
      wants(1) === "none" ? undefined : sumOver(build, mul(dy, standardized.normalized), others),
      wants(2) === "none" ? undefined : sumOver(build, dy, others),
    ];
  },
  cost: costPerElement,
};
