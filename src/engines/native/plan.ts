// What a graph is lowered to: steps over slots of memory, with sizes that are numbers but for counts of rows.
import { type DType, dtypes } from "../../ir/dtype.ts";
import { assert } from "../../ir/errors.ts";
import type { Dim, Node } from "../../ir/graph.ts";
import type { Tensor } from "../../ir/tensor.ts";

/** Row-major, or with the channels (axis 1) innermost. */
export type MemoryLayout = "plain" | "channelsLast";

/**
 * Where a slot's bytes are: among the intermediate values, in a buffer of a fused step, some images at a time at an offset of the
 * buffers of a step of windows, among the constants, or in a variable.
 */
type Location =
  | { readonly kind: "arena" }
  | { readonly kind: "local"; readonly index: number }
  | { readonly kind: "window"; readonly offset: number }
  | { readonly kind: "constant"; readonly value: Tensor }
  | { readonly kind: "variable"; readonly name: string };

export interface Slot {
  readonly bytes: number;
  location: Location;
}

/** A graph's value: a slot seen with a shape; several values may share a slot. Its type may be narrower than the graph's. */
export interface Value {
  readonly slot: Slot;
  readonly dtype: DType;
  readonly shape: readonly Dim[];
  readonly layout: MemoryLayout;
  /** How to read it where it holds a fake-quantized value's codes. */
  readonly codes?: Codes;
}

/** value = (code − zero) · scale; the scale is not a number where a value was none. */
export interface Codes {
  readonly scale: Value;
  readonly zero: Value;
}

export interface Step {
  readonly kernel: string;
  readonly inputs: readonly (Slot | undefined)[];
  readonly outputs: readonly (Slot | undefined)[];
  readonly ints: readonly number[];
  readonly floats: readonly number[];
  /** Pairs [output, input] that may be the same memory: each element is read before it is written. */
  readonly inPlace: readonly (readonly [number, number])[];
  /** Of a fused step: what it does to each chunk of its elements. */
  readonly fused?: Fused;
  /** Of a step of windows: the steps that go over some images at a time, in turn. */
  readonly parts?: readonly Step[];
  /** What it was lowered from; absent where it is of several nodes, or of none. */
  readonly node?: Node;
}

export interface Fused {
  readonly count: number;
  /** Elements of a row, of which chunks hold whole ones; 0 where no operation cares. */
  readonly width: number;
  readonly operations: readonly FusedOperation[];
  /** It only turns what is stored into float32, and is done again wherever that is read. */
  readonly isLoad: boolean;
  /** It serves the updates alone: what it makes are gradients. */
  readonly isLate: boolean;
}

/** A loop over a chunk. Its operands in this order: read by element, read as a whole, written by element, written once all elements are done. */
export interface FusedOperation {
  readonly kernel: string;
  readonly elementwise: readonly (Slot | undefined)[];
  readonly broadcast: readonly (Slot | undefined)[];
  readonly results: readonly (Slot | undefined)[];
  readonly epilogue: readonly (Slot | undefined)[];
  readonly ints: readonly number[];
  readonly floats: readonly number[];
  readonly node?: Node;
}

export interface Plan {
  readonly steps: readonly Step[];
  readonly inputs: ReadonlyMap<string, Value>;
  readonly outputs: ReadonlyMap<string, Value>;
  /** The symbolic sizes that stay open, in the order of the counts, with the maximum of each. */
  readonly counts: ReadonlyMap<string, number>;
  /** No step before this one writes a variable. */
  readonly firstCommit: number;
}

export const bytesOf = (dtype: DType): number => dtypes[dtype].array.BYTES_PER_ELEMENT;

/** Sizes that must be numbers. */
export function fixed(shape: readonly Dim[]): readonly number[] {
  return shape.map((size) => {
    assert(typeof size === "number", `size "${size}" is not fixed`);
    return size;
  });
}

/** Whether both layouts are the same bytes. */
export function isEitherLayout(shape: readonly Dim[]): boolean {
  if (shape.length < 3 || shape[1] === 1) return true;
  return shape.slice(2).every((size) => size === 1);
}

/** The axes from outermost to innermost in memory. */
export function memoryOrder(rank: number, layout: MemoryLayout): readonly number[] {
  const axes = Array.from({ length: rank }, (_, axis) => axis);
  return layout === "plain" || rank < 3 ? axes : [0, ...axes.slice(2), 1];
}

/** Elements between neighbours along each axis. */
export function stridesOf(shape: readonly number[], layout: MemoryLayout): readonly number[] {
  const strides = shape.map(() => 1);
  let step = 1;
  for (const axis of memoryOrder(shape.length, layout).toReversed()) {
    strides[axis] = step;
    step *= shape[axis];
  }
  return strides;
}

/** A nest of loops: sizes, and strides for each operand. */
export interface Nest {
  readonly sizes: readonly number[];
  readonly strides: readonly (readonly number[])[];
}

/** The same nest with as few loops as possible, at least one. */
export function collapsed({ sizes, strides }: Nest): Nest {
  const kept: { size: number; steps: number[] }[] = [];
  sizes.forEach((size, axis) => {
    if (size === 1) return;
    const steps = strides.map((list) => list[axis]);
    const outer = kept.at(-1);
    if (outer?.steps.every((step, i) => step === steps[i] * size)) {
      outer.size *= size;
      outer.steps = steps;
    } else kept.push({ size, steps });
  });
  if (kept.length === 0) kept.push({ size: 1, steps: strides.map(() => 0) });
  return { sizes: kept.map(({ size }) => size), strides: strides.map((_, i) => kept.map(({ steps }) => steps[i])) };
}

/** A list as steps take it: its length, then its numbers. */
export const list = (numbers: readonly number[]): readonly number[] => [numbers.length, ...numbers];
