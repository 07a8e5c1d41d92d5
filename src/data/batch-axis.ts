// Tensors with their samples moved to where a model has its batch axis.
import { batchAxes } from "../ir/batch-axes.ts";
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

/** The same inputs with `change` of each one's samples, which it gets along axis 0; scalars stay. */
export function changeSamples(
  inputs: ReadonlyMap<string, Tensor>,
  axes: ReadonlyMap<string, number>,
  change: (rows: Tensor) => Tensor,
): ReadonlyMap<string, Tensor> {
  const changed = (name: string, value: Tensor): Tensor => {
    const axis = axes.get(name) ?? 0;
    return value.shape.length === 0 ? value : moveSamplesTo(change(moveSamplesFrom(value, axis)), axis);
  };
  return new Map([...inputs].map(([name, value]) => [name, changed(name, value)]));
}
