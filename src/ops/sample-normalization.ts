// Normalizations of each sample by its own statistics: layer, RMS, instance and group.
import type { Builder } from "../ir/builder.ts";
import { assert } from "../ir/errors.ts";
import type { Dim, Node, ValueType } from "../ir/graph.ts";
import { arithmetic, shapeOf } from "./arithmetic.ts";
import { mismatch, numberAttribute, printShape, unsupported } from "./attributes.ts";
import type { OpDefinition } from "./definition.ts";
import { floats, optional, tied } from "./inputs.ts";
import { checkChannels, epsilonOf, perChannel, standardize, standardizedGradient } from "./normalizing.ts";
import { operand, resolveAxis } from "./operands.ts";
import { costPerElement } from "./pointwise.ts";
import { allAxesButChannels, sumOver } from "./rows.ts";
import { leadingSamples, samplesBeforeAxis } from "./samples.ts";

function normalizedAxes(node: Node, rank: number): number[] {
  const first = resolveAxis(node, numberAttribute(node, "axis", -1), rank);
  return Array.from({ length: rank - first }, (_, i) => first + i);
}

/** Scale and bias have the sizes of the last axes of x, of those that are normalized. */
function checkTrailing(node: Node, x: readonly Dim[], parameter: ValueType | undefined): void {
  if (parameter === undefined) return;
  const count = normalizedAxes(node, x.length).length;
  if (parameter.shape.slice(0, -count).some((dim) => dim !== 1))
    throw unsupported(
      node,
      `a parameter is ${printShape(parameter.shape)}, with sizes beyond the ${count} axes that are normalized.`,
    );
  const expected = x.slice(x.length - parameter.shape.length);
  if (String(expected) === String(parameter.shape) || parameter.shape.every((dim) => dim === 1)) return;
  throw mismatch(node, `a parameter is ${printShape(parameter.shape)}; expected ${printShape(expected)}.`);
}

/** dscale = dy x̂, dbias = dy; dx as in `standardizedGradient` with g = dy scale */
export const LayerNormalization: OpDefinition = {
  introduced: 17,
  inputs: [tied(floats), tied(floats), optional(tied(floats))],
  outputs: 3,
  sampleAxis: samplesBeforeAxis(-1),
  movesValues: false,
  infer: (context) => {
    const { dtype, shape } = operand(context, 0);
    operand(context, 1);
    const axes = normalizedAxes(context.node, shape.length);
    if (axes.some((axis) => shape[axis] === 0))
      throw mismatch(context.node, `its input is ${printShape(shape)}; there is nothing to normalize.`);
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
  introduced: 1,
  inputs: [tied(floats), tied(floats), tied(floats)],
  outputs: 1,
  sampleAxis: leadingSamples,
  movesValues: false,
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

/** y = x r scale, r = 1/√(mean(x²) + ε), x̂ = x r: dx = r (g − x̂ mean(g x̂)) with g = dy scale; dscale = dy x̂ */
export const RMSNormalization: OpDefinition = {
  introduced: 23,
  inputs: [tied(floats), tied(floats)],
  outputs: 1,
  sampleAxis: samplesBeforeAxis(-1),
  movesValues: false,
  infer: (context) => {
    const { dtype, shape } = operand(context, 0);
    normalizedAxes(context.node, shape.length);
    checkTrailing(context.node, shape, operand(context, 1));
    return [{ dtype, shape }];
  },
  gradient: ({ node, build, dys: [dy], wants, type }) => {
    if (dy === undefined) return [];
    const [x, scale] = node.inputs;
    const { add, sub, mul, div, call, of } = arithmetic(build, dy);
    const axes = build.ints(normalizedAxes(node, type(x).shape.length));
    const meanOf = (value: string): string => build.node("ReduceMean", [value, axes], { keepdims: 1 });
    const inverse = div(of(1), call("Sqrt", add(meanOf(mul(x, x)), of(epsilonOf(node)))));
    const normalized = mul(x, inverse);
    const dx = (): string => {
      const g = mul(dy, scale);
      return mul(inverse, sub(g, mul(normalized, meanOf(mul(g, normalized)))));
    };
    return [wants(0) === "none" ? undefined : dx(), wants(1) === "none" ? undefined : mul(dy, normalized)];
  },
  cost: costPerElement,
};

const groupsOf = (node: Node): number => numberAttribute(node, "num_groups", 1);

/** [N, C, ...] as [N, groups, the rest]. */
const grouped = (build: Builder, value: string, node: Node): string =>
  build.node("Reshape", [value, build.ints([0, groupsOf(node), -1])]);

/** As InstanceNormalization, over groups of channels. */
export const GroupNormalization: OpDefinition = {
  introduced: 21,
  inputs: [tied(floats), tied(floats), tied(floats)],
  outputs: 1,
  sampleAxis: leadingSamples,
  movesValues: false,
  infer: (context) => {
    const { dtype, shape } = operand(context, 0);
    const channels = checkChannels(context, { dtype, shape });
    const groups = groupsOf(context.node);
    if (groups < 1 || (typeof channels === "number" && channels % groups !== 0))
      throw mismatch(context.node, `num_groups is ${groups}; it must be positive and divide the ${channels} channels.`);
    return [{ dtype, shape }];
  },
  gradient: ({ node, build, dys: [dy], wants, type }) => {
    if (dy === undefined) return [];
    const [x, scale] = node.inputs;
    const { mul } = arithmetic(build, dy);
    const others = allAxesButChannels(type(x).shape.length);
    const likeX = (value: string): string => build.node("Reshape", [value, shapeOf(build, x)]);
    const needsX = wants(0) !== "none" || wants(1) !== "none";
    const standardized = needsX
      ? standardize(build, grouped(build, x, node), [2], epsilonOf(node))
      : { normalized: "", inverse: "" };
    const dx = (): string => {
      const g = grouped(build, mul(dy, perChannel(build, scale, x)), node);
      return likeX(standardizedGradient(build, g, standardized, [2]));
    };
    return [
      wants(0) === "none" ? undefined : dx(),
      wants(1) === "none" ? undefined : sumOver(build, mul(dy, likeX(standardized.normalized)), others),
      wants(2) === "none" ? undefined : sumOver(build, dy, others),
    ];
  },
  cost: costPerElement,
};
