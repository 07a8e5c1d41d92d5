// Where the samples of a batch are in a value.

import type { TypedArray } from "../ir/dtype.ts";
import { FrostbitError } from "../ir/errors.ts";
import type { Graph } from "../ir/graph.ts";
import { withShape } from "../ir/joined-tensor.ts";
import { allocate, sizeOf, type Tensor } from "../ir/tensor.ts";
import { setBatchSize } from "../passes/set-batch-size.ts";

/** The axis along which samples follow each other, and the shape of the value in a batch of one. */
export interface SampleLayout {
  readonly axis: number;
  readonly shape: readonly number[];
}

/**
 * By value: found by how shapes grow with the batch. Throws BAD_MODEL where a value does not grow along one axis by the same size
 * for each sample.
 */
export function sampleLayouts(graph: Graph, values: Iterable<string>): ReadonlyMap<string, SampleLayout> {
  const [one, two, three] = [1, 2, 3].map((batch) => setBatchSize(graph, batch).values);
  return new Map(
    [...values].map((value) => {
      const shapes = [one, two, three].map((types) => types.get(value)?.shape.map(Number) ?? []);
      const [shape, second, third] = shapes;
      const growing = shape.flatMap((size, axis) => (second[axis] === size ? [] : [axis]));
      const [axis] = growing;
      if (growing.length !== 1 || second[axis] !== 2 * shape[axis] || third[axis] !== 3 * shape[axis])
        throw new FrostbitError(
          "BAD_MODEL",
          `Value "${value}" is [${shape}] for one sample and [${second}] for two; expected one axis of twice the size. Samples of it cannot be told apart: cut larger units.`,
        );
      return [value, { axis, shape }];
    }),
  );
}

/** Whether samples that follow each other are a batch already. */
export const samplesComeFirst = ({ axis, shape }: SampleLayout): boolean => sizeOf(shape.slice(0, axis)) === 1;

/** The samples of a batch one after the other: [samples, ...shape]. */
export function toSamples(value: Tensor, layout: SampleLayout): Tensor {
  const { axis, shape } = layout;
  const count = value.shape[axis] / shape[axis];
  if (samplesComeFirst(layout)) return withShape(value, [count, ...shape]);
  return { dtype: value.dtype, shape: [count, ...shape], data: exchange(value, shape, axis, count, "apart") };
}

/** The batch of samples that follow each other. */
export function toBatch(samples: Tensor, layout: SampleLayout): Tensor {
  const { axis, shape } = layout;
  const [count] = samples.shape;
  const whole = shape.map((size, i) => (i === axis ? count * size : size));
  if (samplesComeFirst(layout)) return withShape(samples, whole);
  return { dtype: samples.dtype, shape: whole, data: exchange(samples, shape, axis, count, "together") };
}

/** A batch has, for each place before the axis, a run of each sample; samples have all their runs together. */
function exchange(
  { dtype, data }: Tensor,
  shape: readonly number[],
  axis: number,
  count: number,
  how: "apart" | "together",
): TypedArray {
  const places = sizeOf(shape.slice(0, axis));
  const length = sizeOf(shape.slice(axis));
  const result = allocate(dtype, data.length);
  for (let place = 0; place < places; place++)
    for (let sample = 0; sample < count; sample++) {
      const inBatch = (place * count + sample) * length;
      const inSample = (sample * places + place) * length;
      const [from, to] = how === "apart" ? [inBatch, inSample] : [inSample, inBatch];
      (result as Float32Array).set(data.subarray(from, from + length) as Float32Array, to);
    }
  return result;
}
