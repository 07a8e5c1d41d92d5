// Maps from output elements to input elements, which most operators that move data are made of.
import { assert } from "../ir/errors.ts";
import { allocate, sizeOf, type Tensor } from "../ir/tensor.ts";

/** Elements between neighbours along each axis, row-major. */
export function stridesOf(shape: readonly number[]): number[] {
  const strides = shape.map(() => 1);
  for (let axis = shape.length - 2; axis >= 0; axis--) strides[axis] = strides[axis + 1] * shape[axis + 1];
  return strides;
}

/** The input that a kernel cannot do without. */
export function required(inputs: readonly (Tensor | undefined)[], i: number): Tensor {
  const input = inputs[i];
  assert(input, `kernel called without input ${i}`);
  return input;
}

export const broadcastShape = (shapes: readonly (readonly number[])[]): number[] => {
  const rank = Math.max(0, ...shapes.map((shape) => shape.length));
  return Array.from({ length: rank }, (_, axis) => {
    const sizes = shapes.map((shape) => shape[axis - rank + shape.length] ?? 1);
    return sizes.find((size) => size !== 1) ?? 1;
  });
};

/** For one axis of an output: what each of its coordinates adds to the input's offset; −1 where there is no input element. */
export type AxisOffsets = ArrayLike<number>;

/** Offsets of coordinates start, start + step, … of an input axis. */
export const steps = (count: number, stride: number, start = 0, step = 1): number[] =>
  Array.from({ length: count }, (_, i) => (start + i * step) * stride);

/** The input element of every output element; −1 where one axis has none. */
export function offsetsOf(axes: readonly AxisOffsets[]): Int32Array {
  let offsets = Int32Array.of(0);
  for (const axis of axes) {
    const next = new Int32Array(offsets.length * axis.length);
    let at = 0;
    for (const base of offsets)
      for (let i = 0; i < axis.length; i++) next[at++] = base < 0 || axis[i] < 0 ? -1 : base + axis[i];
    offsets = next;
  }
  return offsets;
}

/** Where each element of `to` is read from in a tensor broadcast to it; `undefined` where the shapes are equal. */
export function broadcastOffsets(from: readonly number[], to: readonly number[]): Int32Array | undefined {
  if (from.length === to.length && from.every((size, axis) => size === to[axis])) return undefined;
  const strides = stridesOf(from);
  const lead = to.length - from.length;
  return offsetsOf(
    to.map((size, axis) => {
      const own = axis - lead;
      return steps(size, own < 0 || from[own] === 1 ? 0 : strides[own]);
    }),
  );
}

/** The elements at `offsets`; where there is none, `fill`. */
export function take(
  x: Tensor,
  shape: readonly number[],
  offsets: ArrayLike<number>,
  fill: number | bigint = 0,
): Tensor {
  const data = allocate(x.dtype, offsets.length);
  assert(offsets.length === sizeOf(shape), `${offsets.length} offsets for shape [${shape}]`);
  if (data instanceof BigInt64Array || data instanceof BigUint64Array) {
    const source = x.data as BigInt64Array;
    for (let i = 0; i < offsets.length; i++) data[i] = offsets[i] < 0 ? BigInt(fill) : source[offsets[i]];
    return { dtype: x.dtype, shape, data };
  }
  const source = x.data as Float64Array;
  for (let i = 0; i < offsets.length; i++) data[i] = offsets[i] < 0 ? Number(fill) : source[offsets[i]];
  return { dtype: x.dtype, shape, data };
}

/** The same elements in another shape. */
export const reshaped = (x: Tensor, shape: readonly number[]): Tensor => ({ dtype: x.dtype, shape, data: x.data });

/** A tensor seen as [outer, size, inner] around one axis. */
export function aroundAxis(shape: readonly number[], axis: number): { outer: number; size: number; inner: number } {
  return { outer: sizeOf(shape.slice(0, axis)), size: shape[axis], inner: sizeOf(shape.slice(axis + 1)) };
}
