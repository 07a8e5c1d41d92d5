// Normalizations, over contiguous groups of elements.
import { assert } from "../ir/errors.ts";
import type { Node } from "../ir/graph.ts";
import { sizeOf, type Tensor } from "../ir/tensor.ts";
import { numberAttribute } from "../ops/attributes.ts";
import { resolveAxis } from "../ops/operands.ts";
import { float64Of, fromFloat64 } from "./float64.ts";
import type { Kernel } from "./kernel.ts";

const epsilonOf = (node: Node): number => numberAttribute(node, "epsilon", 1e-5);

/** x as [batch, channels, positions]. */
interface Planes {
  readonly batch: number;
  readonly channels: number;
  readonly positions: number;
}

const planesOf = ({ shape }: Tensor): Planes => ({
  batch: shape[0],
  channels: shape[1],
  positions: sizeOf(shape.slice(2)),
});

/** Σ over batch and positions of `term(index, channel)`, per channel. */
function sumPerChannel({ batch, channels, positions }: Planes, term: (i: number, channel: number) => number) {
  const sums = new Float64Array(channels);
  for (let c = 0; c < channels; c++)
    for (let n = 0; n < batch; n++) {
      const start = (n * channels + c) * positions;
      for (let i = start; i < start + positions; i++) sums[c] += term(i, c);
    }
  return sums;
}

/** `value(index, channel)` for every element. */
function mapPerChannel({ batch, channels, positions }: Planes, value: (i: number, channel: number) => number) {
  const result = new Float64Array(batch * channels * positions);
  for (let n = 0; n < batch; n++)
    for (let c = 0; c < channels; c++) {
      const start = (n * channels + c) * positions;
      for (let i = start; i < start + positions; i++) result[i] = value(i, c);
    }
  return result;
}

const BatchNormalization: Kernel = ([x, scale, bias, mean, variance], node) => {
  assert(x && scale && bias && mean && variance, "BatchNormalization lacks inputs");
  const [data, m, v] = [x, mean, variance].map((input) => float64Of(input, node));
  const [gamma, beta] = [scale, bias].map((input) => float64Of(input, node));
  const factor = gamma.map((g, c) => g / Math.sqrt(v[c] + epsilonOf(node)));
  const y = mapPerChannel(planesOf(x), (i, c) => (data[i] - m[c]) * factor[c] + beta[c]);
  return [fromFloat64(x.dtype, x.shape, y, node)];
};

const BatchNormalizationTraining: Kernel = ([x, gamma, beta], node) => {
  assert(x && gamma && beta, "BatchNormalizationTraining lacks inputs");
  const [data, scale, bias] = [x, gamma, beta].map((input) => float64Of(input, node));
  const planes = planesOf(x);
  const count = planes.batch * planes.positions;
  const mean = sumPerChannel(planes, (i) => data[i]).map((sum) => sum / count);
  const variance = sumPerChannel(planes, (i, c) => (data[i] - mean[c]) ** 2).map((sum) => sum / count);
  const factor = scale.map((g, c) => g / Math.sqrt(variance[c] + epsilonOf(node)));
  const y = mapPerChannel(planes, (i, c) => (data[i] - mean[c]) * factor[c] + bias[c]);
  const statistic = (values: Float64Array): Tensor => fromFloat64(x.dtype, [planes.channels], values, node);
  return [fromFloat64(x.dtype, x.shape, y, node), statistic(mean), statistic(variance)];
};

/** dbeta = Σ dy, dgamma = Σ dy x̂, dx = γ r (dy − dbeta/count − x̂ dgamma/count) */
const BatchNormalizationTrainingGradient: Kernel = ([dy, x, gamma, mean, variance], node) => {
  assert(dy && x && gamma && mean && variance, "BatchNormalizationTrainingGradient lacks inputs");
  const [g, data, scale] = [dy, x, gamma].map((input) => float64Of(input, node));
  const [m, v] = [mean, variance].map((input) => float64Of(input, node));
  const planes = planesOf(x);
  const count = planes.batch * planes.positions;
  const inverse = v.map((value) => 1 / Math.sqrt(value + epsilonOf(node)));
  const dbeta = sumPerChannel(planes, (i) => g[i]);
  const dgamma = sumPerChannel(planes, (i, c) => g[i] * (data[i] - m[c])).map((sum, c) => sum * inverse[c]);
  const dx = mapPerChannel(planes, (i, c) => {
    const normalized = (data[i] - m[c]) * inverse[c];
    return scale[c] * inverse[c] * (g[i] - (dbeta[c] + normalized * dgamma[c]) / count);
  });
  const parameter = (values: Float64Array): Tensor => fromFloat64(x.dtype, gamma.shape, values, node);
  return [fromFloat64(x.dtype, x.shape, dx, node), parameter(dgamma), parameter(dbeta)];
};

interface Groups {
  readonly y: Float64Array;
  readonly means: Float64Array;
  readonly inverses: Float64Array;
}

/** Standardizes groups of `length` elements; `affine` applies scale and bias. */
function normalizeGroups(
  x: Float64Array,
  length: number,
  epsilon: number,
  affine: (value: number, i: number) => number,
): Groups {
  const count = length === 0 ? 0 : x.length / length;
  const groups = { y: new Float64Array(x.length), means: new Float64Array(count), inverses: new Float64Array(count) };
  for (let group = 0; group < count; group++) {
    const start = group * length;
    let sum = 0;
    for (let i = start; i < start + length; i++) sum += x[i];
    const mean = sum / length;
    let squares = 0;
    for (let i = start; i < start + length; i++) squares += (x[i] - mean) ** 2;
    const inverse = 1 / Math.sqrt(squares / length + epsilon);
    for (let i = start; i < start + length; i++) groups.y[i] = affine((x[i] - mean) * inverse, i);
    groups.means[group] = mean;
    groups.inverses[group] = inverse;
  }
  return groups;
}

/** A parameter of the last axes' sizes, repeated to fill all normalized axes. */
function repeated(parameter: Tensor, length: number, node: Node): Float64Array {
  const data = float64Of(parameter, node);
  return Float64Array.from({ length }, (_, i) => data[i % data.length]);
}

const LayerNormalization: Kernel = ([x, scale, bias], node) => {
  assert(x && scale, "LayerNormalization without x or scale");
  const axis = resolveAxis(node, numberAttribute(node, "axis", -1), x.shape.length);
  const length = sizeOf(x.shape.slice(axis));
  const factor = repeated(scale, length, node);
  const offset = bias && repeated(bias, length, node);
  const affine = (value: number, i: number): number => value * factor[i % length] + (offset?.[i % length] ?? 0);
  const { y, means, inverses } = normalizeGroups(float64Of(x, node), length, epsilonOf(node), affine);
  const shape = x.shape.map((size, i) => (i < axis ? size : 1));
  return [
    fromFloat64(x.dtype, x.shape, y, node),
    fromFloat64(x.dtype, shape, means, node),
    fromFloat64(x.dtype, shape, inverses, node),
  ];
};

const InstanceNormalization: Kernel = ([x, scale, bias], node) => {
  assert(x && scale && bias, "InstanceNormalization lacks inputs");
  const { channels, positions } = planesOf(x);
  const [factor, offset] = [scale, bias].map((input) => float64Of(input, node));
  const channelOf = (i: number): number => Math.floor(i / positions) % channels;
  const affine = (value: number, i: number): number => value * factor[channelOf(i)] + offset[channelOf(i)];
  const { y } = normalizeGroups(float64Of(x, node), positions, epsilonOf(node), affine);
  return [fromFloat64(x.dtype, x.shape, y, node)];
};

const GroupNormalization: Kernel = ([x, scale, bias], node) => {
  assert(x && scale && bias, "GroupNormalization lacks inputs");
  const { channels, positions } = planesOf(x);
  const length = (channels / numberAttribute(node, "num_groups", 1)) * positions;
  const [factor, offset] = [scale, bias].map((input) => float64Of(input, node));
  const channelOf = (i: number): number => Math.floor(i / positions) % channels;
  const affine = (value: number, i: number): number => value * factor[channelOf(i)] + offset[channelOf(i)];
  const { y } = normalizeGroups(float64Of(x, node), length, epsilonOf(node), affine);
  return [fromFloat64(x.dtype, x.shape, y, node)];
};

const RMSNormalization: Kernel = ([x, scale], node) => {
  assert(x && scale, "RMSNormalization without x or scale");
  const axis = resolveAxis(node, numberAttribute(node, "axis", -1), x.shape.length);
  const length = sizeOf(x.shape.slice(axis));
  const factor = repeated(scale, length, node);
  const data = float64Of(x, node);
  const y = new Float64Array(data.length);
  for (let start = 0; start < data.length; start += length) {
    let squares = 0;
    for (let i = start; i < start + length; i++) squares += data[i] ** 2;
    const inverse = 1 / Math.sqrt(squares / length + epsilonOf(node));
    for (let i = 0; i < length; i++) y[start + i] = data[start + i] * inverse * factor[i];
  }
  return [fromFloat64(x.dtype, x.shape, y, node)];
};

export const normalizationKernels = {
  GroupNormalization,
  RMSNormalization,
  BatchNormalization,
  BatchNormalizationTraining,
  BatchNormalizationTrainingGradient,
  LayerNormalization,
  InstanceNormalization,
} satisfies Record<string, Kernel>;
