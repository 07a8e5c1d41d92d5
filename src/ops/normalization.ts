// Batch normalization, by stored statistics and by the batch's own.

import { assert } from "../ir/errors.ts";
import { arithmetic } from "./arithmetic.ts";
import { numberAttribute, unsupported } from "./attributes.ts";
import type { GradientContext, InferRule, OpDefinition, OwnOpDefinition } from "./definition.ts";
import { floats, tied } from "./inputs.ts";
import { checkChannels, epsilonOf, perChannel } from "./normalizing.ts";
import { operand } from "./operands.ts";
import { costPerElement } from "./pointwise.ts";
import { allAxesButChannels, sumOver } from "./rows.ts";
import { samplesWhere } from "./samples.ts";

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
  introduced: 1,
  inputs: [tied(floats), tied(floats), tied(floats), tied(floats), tied(floats)],
  outputs: 1,
  sampleAxis: samplesWhere((axis) => axis !== 1),
  movesValues: false,
  infer: inferBatchNormalization,
  gradient: batchNormalizationGradient,
  cost: costPerElement,
};

/** Normalizes by the batch's own statistics and gives them: y, mean, biased variance. */
export const BatchNormalizationTraining: OwnOpDefinition = {
  introduced: "own",
  inputs: [floats, floats, floats],
  outputs: 3,
  sampleAxis: "coupled",
  movesValues: false,
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
export const BatchNormalizationTrainingGradient: OwnOpDefinition = {
  introduced: "own",
  inputs: [floats, floats, floats, floats, floats],
  outputs: 3,
  sampleAxis: "coupled",
  movesValues: false,
  infer: (context) => {
    const { dtype, shape } = operand(context, 1);
    const gamma = operand(context, 2);
    const parameter = { dtype, shape: gamma.shape };
    return [{ dtype, shape }, parameter, parameter];
  },
  gradient: "none",
  cost: ([dy = []]) => ({ multiplyAdds: 3 * dy.reduce((a, b) => a * b, 1) }),
};
