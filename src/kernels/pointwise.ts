// What elementwise kernels are made of: one function applied everywhere, with broadcasting.
import type { DType } from "../ir/dtype.ts";
import type { Node } from "../ir/graph.ts";
import { allocate, sizeOf, type Tensor } from "../ir/tensor.ts";
import { broadcastOffsets, broadcastShape, required } from "./index-maps.ts";
import type { Kernel } from "./kernel.ts";
import { asNumbers, fromNumbers, isBig } from "./numbers.ts";

/** y = f(x); `prepare` reads the node's attributes once. */
export const unary =
  (prepare: (node: Node) => (x: number) => number, dtype?: DType): Kernel =>
  (inputs, node) => {
    const x = required(inputs, 0);
    const f = prepare(node);
    const values = asNumbers(x);
    const results = dtype || isBig(x) ? new Float64Array(values.length) : allocate(x.dtype, values.length);
    for (let i = 0; i < values.length; i++) results[i] = f(values[i]);
    return [fromNumbers(dtype ?? x.dtype, x.shape, results as Float64Array)];
  };

export const plain = (f: (x: number) => number, dtype?: DType): Kernel => unary(() => f, dtype);

export interface Operands {
  readonly shape: readonly number[];
  /** Where each output element reads each input; `undefined` for an input of the output's shape. */
  readonly offsets: readonly (Int32Array | undefined)[];
}

export function align(inputs: readonly Tensor[]): Operands {
  const shape = broadcastShape(inputs.map((input) => input.shape));
  return { shape, offsets: inputs.map((input) => broadcastOffsets(input.shape, shape)) };
}

export function applyNumbers(f: (a: number, b: number) => number, a: Tensor, b: Tensor, dtype: DType): Tensor {
  const { shape, offsets } = align([a, b]);
  const [x, y] = [asNumbers(a), asNumbers(b)];
  const [xAt, yAt] = offsets;
  const results = new Float64Array(sizeOf(shape));
  for (let i = 0; i < results.length; i++) results[i] = f(x[xAt ? xAt[i] : i], y[yAt ? yAt[i] : i]);
  return fromNumbers(dtype, shape, results);
}

export function applyBig(f: (a: bigint, b: bigint) => bigint, a: Tensor, b: Tensor): Tensor {
  const { shape, offsets } = align([a, b]);
  const [x, y] = [a.data as BigInt64Array, b.data as BigInt64Array];
  const [xAt, yAt] = offsets;
  const data = allocate(a.dtype, sizeOf(shape)) as BigInt64Array;
  for (let i = 0; i < data.length; i++) data[i] = f(x[xAt ? xAt[i] : i], y[yAt ? yAt[i] : i]);
  return { dtype: a.dtype, shape, data };
}

export type NumberFunction = (a: number, b: number) => number;
export type BigFunction = (a: bigint, b: bigint) => bigint;

export const binary =
  (f: NumberFunction, big?: BigFunction): Kernel =>
  (inputs) => {
    const [a, b] = [required(inputs, 0), required(inputs, 1)];
    return [big && isBig(a) && isBig(b) ? applyBig(big, a, b) : applyNumbers(f, a, b, a.dtype)];
  };

export const predicate =
  (f: (a: number, b: number) => boolean): Kernel =>
  (inputs) => [applyNumbers((a, b) => Number(f(a, b)), required(inputs, 0), required(inputs, 1), "bool")];
