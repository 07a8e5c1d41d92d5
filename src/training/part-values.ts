// What a part of a batch adds to the sums, in one array: gradients, statistics, the loss, and whether its process is to stop.
import type { Floats } from "../distributed/communicator.ts";
import type { TypedArray } from "../ir/dtype.ts";
import { assert } from "../ir/errors.ts";
import { castTensor, sizeOf, type Tensor } from "../ir/tensor.ts";
import { powerOf } from "./accumulation.ts";
import { rowsSize, type Step } from "./step.ts";

/** Of a value in the array. */
interface Place {
  readonly start: number;
  readonly type: Pick<Tensor, "dtype" | "shape">;
}

interface Layout {
  /** What rows train decides it. */
  readonly key: string;
  /** By output of the graph of a part. */
  readonly places: ReadonlyMap<string, Place>;
  /** Without the element behind them all, which counts the processes that are to stop. */
  readonly length: number;
  /** float32 where all are. */
  readonly dtype: "float32" | "float64";
}

export interface PartValues {
  readonly all: Floats;
  readonly layout: Layout;
  /** Parts of `all`. */
  readonly views: ReadonlyMap<string, Floats>;
}

/** Those of `free` that fit, or new ones. `inputs`: what the part is fed, which says how many rows train. */
export function valuesFor(step: Step, inputs: ReadonlyMap<string, Tensor>, free: PartValues[]): PartValues {
  const counts = new Map(
    [...step.rowInputs].map(([weight, input]) => [rowsSize(weight), inputs.get(input)?.shape[0] ?? 0] as const),
  );
  const key = [...counts.values()].join();
  const last = free.pop();
  return last?.layout.key === key ? last : allocate(layoutOf(step, key, counts));
}

function layoutOf({ graph }: Step, key: string, counts: ReadonlyMap<string, number>): Layout {
  const places = new Map<string, Place>();
  let length = 0;
  let dtype: Layout["dtype"] = "float32";
  for (const output of graph.outputs) {
    const type = graph.values.get(output);
    assert(type?.dtype === "float32" || type?.dtype === "float64", `"${output}" is ${type?.dtype}; sums are of floats`);
    const shape = type.shape.map((size) => {
      const count = typeof size === "number" ? size : counts.get(size);
      assert(count !== undefined, `"${output}" has ${size} elements along an axis; sums are of known sizes`);
      return count;
    });
    places.set(output, { start: length, type: { dtype: type.dtype, shape } });
    length += sizeOf(shape);
    if (type.dtype === "float64") dtype = "float64";
  }
  return { key, places, length, dtype };
}

function allocate(layout: Layout): PartValues {
  const { places, length, dtype } = layout;
  const all = dtype === "float32" ? new Float32Array(length + 1) : new Float64Array(length + 1);
  const views = new Map(
    [...places].map(([name, { start, type }]) => [name, all.subarray(start, start + sizeOf(type.shape))] as const),
  );
  return { all, layout, views };
}

/** What an engine may write into. */
export const sparesOf = ({ layout, views }: PartValues): ReadonlyMap<string, TypedArray> =>
  new Map([...views].filter(([name]) => layout.places.get(name)?.type.dtype === layout.dtype));

/** Takes what the graph of part `index` gave, and counts its statistics less for each part after it. */
export function takeValues(
  { all, views }: PartValues,
  step: Step,
  index: number,
  outputs: ReadonlyMap<string, Tensor>,
): void {
  for (const [name, view] of views) {
    const data = outputs.get(name)?.data;
    assert(data instanceof Float32Array || data instanceof Float64Array, `the step gives no "${name}"`);
    if (data !== view) view.set(data);
  }
  all[all.length - 1] = 0;
  const later = step.microBatches - 1 - index;
  for (const { output, keeps } of step.summed) {
    if (keeps === 1) continue;
    const factor = powerOf(keeps, later);
    const view = viewOf(views, output);
    for (let i = 0; i < view.length; i++) view[i] *= factor;
  }
}

function viewOf(views: PartValues["views"], name: string): Floats {
  const view = views.get(name);
  assert(view, `the step gives no "${name}"`);
  return view;
}

export function valueIn({ layout, views }: PartValues, name: string): Tensor {
  const data = viewOf(views, name);
  const place = layout.places.get(name);
  assert(place, `the step gives no "${name}"`);
  const { dtype, shape } = place.type;
  return castTensor({ dtype: layout.dtype, shape, data }, dtype);
}

/** After the sum: how many processes are to stop. */
export const stopping = ({ all }: PartValues): number => all[all.length - 1];

export function wishToStop({ all }: PartValues): void {
  all[all.length - 1] = 1;
}
