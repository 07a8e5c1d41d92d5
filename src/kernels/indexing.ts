// Kernels of the operators that read and write at positions given by indices.
import { FrostbitError } from "../ir/errors.ts";
import { describeNode, type Node } from "../ir/graph.ts";
import { allocate, sizeOf, type Tensor, tensorOf, toNumbers } from "../ir/tensor.ts";
import { numberAttribute, stringAttribute } from "../ops/attributes.ts";
import { resolveAxis } from "../ops/operands.ts";
import { aroundAxis, required, stridesOf, take } from "./index-maps.ts";
import type { Kernel } from "./kernel.ts";
import { asNumbers } from "./numbers.ts";

function checkedIndex(node: Node, index: number, size: number): number {
  const resolved = index < 0 ? index + size : index;
  if (resolved >= 0 && resolved < size) return resolved;
  throw new FrostbitError("BAD_DATA", `${describeNode(node)}: index ${index} is outside an axis of ${size} elements.`);
}

const axisOf = (node: Node, rank: number, fallback = 0): number =>
  resolveAxis(node, numberAttribute(node, "axis", fallback), rank);

const gather: Kernel = (inputs, node) => {
  const [x, indices] = [required(inputs, 0), required(inputs, 1)];
  const axis = axisOf(node, x.shape.length);
  const { outer, size, inner } = aroundAxis(x.shape, axis);
  const rows = toNumbers(indices).map((index) => checkedIndex(node, index, size));
  const offsets = new Int32Array(outer * rows.length * inner);
  let at = 0;
  for (let o = 0; o < outer; o++)
    for (const row of rows) for (let i = 0; i < inner; i++) offsets[at++] = (o * size + row) * inner + i;
  return [take(x, [...x.shape.slice(0, axis), ...indices.shape, ...x.shape.slice(axis + 1)], offsets)];
};

/** Where each element of `indices` points in a tensor of shape `shape`. */
function elementOffsets(node: Node, shape: readonly number[], indices: Tensor): Int32Array {
  const axis = axisOf(node, shape.length);
  const strides = stridesOf(shape);
  const own = stridesOf(indices.shape);
  const values = toNumbers(indices);
  return Int32Array.from(values, (index, i) =>
    strides.reduce((offset, stride, a) => {
      const coordinate = Math.floor(i / own[a]) % indices.shape[a];
      return offset + stride * (a === axis ? checkedIndex(node, index, shape[axis]) : coordinate);
    }, 0),
  );
}

const gatherElements: Kernel = (inputs, node) => {
  const [x, indices] = [required(inputs, 0), required(inputs, 1)];
  return [take(x, indices.shape, elementOffsets(node, x.shape, indices))];
};

/** Where each slice that the last axis of `indices` names starts, and how long it is. */
function sliceStarts(
  node: Node,
  shape: readonly number[],
  indices: Tensor,
  batch: number,
): { starts: Int32Array; length: number } {
  const depth = indices.shape[indices.shape.length - 1];
  const strides = stridesOf(shape);
  const values = toNumbers(indices);
  const count = sizeOf(indices.shape.slice(0, -1));
  const perBatch = sizeOf(indices.shape.slice(batch, -1));
  const batchStride = batch === 0 ? 0 : strides[batch - 1];
  const starts = Int32Array.from({ length: count }, (_, i) => {
    let start = Math.floor(i / perBatch) * batchStride;
    for (let d = 0; d < depth; d++)
      start += checkedIndex(node, values[i * depth + d], shape[batch + d]) * strides[batch + d];
    return start;
  });
  return { starts, length: sizeOf(shape.slice(batch + depth)) };
}

const spread = ({ starts, length }: { starts: Int32Array; length: number }): Int32Array =>
  Int32Array.from({ length: starts.length * length }, (_, i) => starts[Math.floor(i / length)] + (i % length));

const gatherNd: Kernel = (inputs, node) => {
  const [x, indices] = [required(inputs, 0), required(inputs, 1)];
  const batch = numberAttribute(node, "batch_dims", 0);
  const depth = indices.shape[indices.shape.length - 1];
  const shape = [...indices.shape.slice(0, -1), ...x.shape.slice(batch + depth)];
  return [take(x, shape, spread(sliceStarts(node, x.shape, indices, batch)))];
};

type Combine = (old: number, update: number) => number;
const combinations: Readonly<Record<string, Combine>> = {
  none: (_old, update) => update,
  add: (old, update) => old + update,
  mul: (old, update) => old * update,
  max: Math.max,
  min: Math.min,
};

function scatter(node: Node, x: Tensor, offsets: Int32Array, updates: Tensor): Tensor {
  const combine = combinations[stringAttribute(node, "reduction", "none")];
  if (x.data instanceof BigInt64Array || x.data instanceof BigUint64Array) {
    const data = x.data.slice();
    offsets.forEach((at, i) => {
      data[at] = BigInt(combine(Number(data[at]), Number(updates.data[i])));
    });
    return { dtype: x.dtype, shape: x.shape, data };
  }
  const totals = Float64Array.from(x.data);
  const values = asNumbers(updates);
  for (let i = 0; i < offsets.length; i++) totals[offsets[i]] = combine(totals[offsets[i]], values[i]);
  return tensorOf(x.dtype, x.shape, totals);
}

const scatterElements: Kernel = (inputs, node) => {
  const [x, indices, updates] = [required(inputs, 0), required(inputs, 1), required(inputs, 2)];
  return [scatter(node, x, elementOffsets(node, x.shape, indices), updates)];
};

const scatterNd: Kernel = (inputs, node) => {
  const [x, indices, updates] = [required(inputs, 0), required(inputs, 1), required(inputs, 2)];
  return [scatter(node, x, spread(sliceStarts(node, x.shape, indices, 0)), updates)];
};

/** Indices out of range give a row of off-values. */
/** A depth may be of any type; its fraction does not count. */
function depthOf(node: Node, value: number): number {
  const depth = Math.trunc(value);
  if (depth >= 0 && depth <= 2 ** 31) return depth;
  throw new FrostbitError("BAD_DATA", `${describeNode(node)}: its depth is ${value}; expected a number of classes.`);
}

const oneHot: Kernel = (inputs, node) => {
  const [indices, values] = [required(inputs, 0), required(inputs, 2)];
  const depth = depthOf(node, toNumbers(required(inputs, 1))[0]);
  const axis = axisOf(node, indices.shape.length + 1, -1);
  const inner = sizeOf(indices.shape.slice(axis));
  const offsets = new Int32Array(indices.data.length * depth);
  toNumbers(indices).forEach((index, i) => {
    const hot = index < 0 ? index + depth : index;
    if (hot < 0 || hot >= depth) return;
    offsets[(Math.floor(i / inner) * depth + hot) * inner + (i % inner)] = 1;
  });
  return [take(values, indices.shape.toSpliced(axis, 0, depth), offsets)];
};

const argExtreme =
  (isBetter: (a: number, b: number) => boolean): Kernel =>
  (inputs, node) => {
    const x = required(inputs, 0);
    const axis = axisOf(node, x.shape.length);
    const { outer, size, inner } = aroundAxis(x.shape, axis);
    const takesLast = numberAttribute(node, "select_last_index", 0) === 1;
    const values = asNumbers(x);
    const found = new Float64Array(outer * inner);
    for (let o = 0; o < outer; o++)
      for (let i = 0; i < inner; i++) {
        const at = (k: number): number => values[(o * size + k) * inner + i];
        let best = 0;
        for (let k = 1; k < size; k++) if (isBetter(at(k), at(best)) || (takesLast && at(k) === at(best))) best = k;
        found[o * inner + i] = best;
      }
    const keeps = numberAttribute(node, "keepdims", 1) === 1;
    return [tensorOf("int64", keeps ? x.shape.with(axis, 1) : x.shape.toSpliced(axis, 1), found)];
  };

const topK: Kernel = (inputs, node) => {
  const x = required(inputs, 0);
  const k = toNumbers(required(inputs, 1))[0];
  const axis = axisOf(node, x.shape.length, -1);
  const { outer, size, inner } = aroundAxis(x.shape, axis);
  const sign = numberAttribute(node, "largest", 1) === 1 ? -1 : 1;
  const values = asNumbers(x);
  const offsets = new Int32Array(outer * k * inner);
  const indices = allocate("int64", offsets.length) as BigInt64Array;
  for (let o = 0; o < outer; o++)
    for (let i = 0; i < inner; i++) {
      const at = (j: number): number => (o * size + j) * inner + i;
      const order = Array.from({ length: size }, (_, j) => j);
      order.sort((a, b) => sign * (values[at(a)] - values[at(b)]) || a - b);
      for (let j = 0; j < k; j++) {
        offsets[(o * k + j) * inner + i] = at(order[j]);
        indices[(o * k + j) * inner + i] = BigInt(order[j]);
      }
    }
  const shape = x.shape.with(axis, k);
  return [take(x, shape, offsets), { dtype: "int64", shape, data: indices }];
};

const nonZero: Kernel = (inputs) => {
  const x = required(inputs, 0);
  const strides = stridesOf(x.shape);
  const positions = toNumbers(x).flatMap((value, i) => (value === 0 ? [] : [i]));
  const coordinates = x.shape.flatMap((size, axis) => positions.map((i) => Math.floor(i / strides[axis]) % size));
  return [tensorOf("int64", [x.shape.length, positions.length], coordinates)];
};

export const indexingKernels = {
  Gather: gather,
  GatherElements: gatherElements,
  GatherND: gatherNd,
  ScatterElements: scatterElements,
  ScatterND: scatterNd,
  OneHot: oneHot,
  ArgMax: argExtreme((a, b) => a > b),
  ArgMin: argExtreme((a, b) => a < b),
  TopK: topK,
  NonZero: nonZero,
} satisfies Record<string, Kernel>;
