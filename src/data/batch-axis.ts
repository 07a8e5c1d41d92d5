// Where a model's inputs have their batch axis, and tensors with their samples moved there.
import type { ValueType } from "../ir/graph.ts";
import { allocate, sizeOf, type Tensor, tensor } from "../ir/tensor.ts";
import { type Dataset, type InputType, withInputs } from "./dataset.ts";

/** [a, b, inner] to [b, a, inner]. */
function swapAxes({ dtype, data }: Tensor, a: number, b: number, shape: readonly number[]): Tensor {
  const inner = data.length / Math.max(1, a * b);
  const result = allocate(dtype, data.length);
  for (let i = 0; i < a; i++)
    for (let j = 0; j < b; j++) {
      const from = (i * b + j) * inner;
      result.set(data.subarray(from, from + inner) as never, (j * a + i) * inner);
    }
  return tensor(dtype, shape, result);
}

/** The same elements with axis 0 moved to `axis`. */
export function moveSamplesTo(source: Tensor, axis: number): Tensor {
  if (axis === 0) return source;
  const [samples, ...rest] = source.shape;
  const shape = [...rest.slice(0, axis), samples, ...rest.slice(axis)];
  return swapAxes(source, samples, sizeOf(rest.slice(0, axis)), shape);
}

/** The same elements with `axis` moved to axis 0. */
export function moveSamplesFrom(source: Tensor, axis: number): Tensor {
  if (axis === 0) return source;
  const { shape } = source;
  const before = shape.slice(0, axis);
  return swapAxes(source, sizeOf(before), shape[axis], [shape[axis], ...before, ...shape.slice(axis + 1)]);
}

/**
 * By input, the axis along which a model has its samples: the first, unless that one is fixed and a later one alone has the name
 * of another input's first axis, as recurrent states have it.
 */
export function batchAxes(inputs: ReadonlyMap<string, ValueType>): ReadonlyMap<string, number> {
  const first = [...inputs.values()].map(({ shape }) => shape[0]);
  const names = new Set(first.filter((size) => typeof size === "string" && size !== ""));
  const axisOf = ({ shape }: ValueType): number => {
    const axes = shape.flatMap((size, axis) => (names.has(size) ? [axis] : []));
    return axes.length === 1 ? axes[0] : 0;
  };
  return new Map([...inputs].map(([name, type]) => [name, axisOf(type)]));
}

/** The dataset with its samples placed as the model's inputs, which have the same names, want them. */
export function placeSamples(dataset: Dataset, inputs: ReadonlyMap<string, ValueType>): Dataset {
  const axes = batchAxes(inputs);
  const place = (name: string, type: InputType): InputType => {
    const axis = inputs.get(name)?.shape.length === 0 && type.shape.length === 0 ? null : axes.get(name);
    return axis === 0 || axis === undefined ? type : { ...type, batchAxis: axis };
  };
  const placed = new Map([...dataset.inputs].map(([name, type]) => [name, place(name, type)]));
  const isSame = [...placed].every(([name, type]) => dataset.inputs.get(name) === type);
  return isSame ? dataset : withInputs(dataset, placed);
}
