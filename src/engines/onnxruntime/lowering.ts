// What a lowering is: a function that emits ONNX nodes for one node of ours.

import { assert } from "../../ir/errors.ts";
import type { Node, ValueType } from "../../ir/graph.ts";
import { sizeOf, type Tensor } from "../../ir/tensor.ts";
import { isStatic } from "../../ops/dims.ts";
import type { Emitter } from "./emitter.ts";

/**
 * The order of a value's elements in memory. `blocked` is ONNX Runtime's NCHWc: the channels in blocks that are innermost,
 * [N, C/block, H, W, block], under the shape [N, C, H, W].
 */
export type BlockLayout = "plain" | "blocked";

export interface LoweringContext {
  readonly node: Node;
  readonly emit: Emitter;
  /** Channels per block; 0 where this build of ONNX Runtime has no blocked convolutions. */
  readonly block: number;
  readonly has: (input: number) => boolean;
  /** The ONNX value of an input, converted if it has another layout. */
  readonly input: (input: number, layout?: BlockLayout) => string;
  /** Whether an input already has this layout. */
  readonly hasLayout: (input: number, layout: BlockLayout) => boolean;
  readonly type: (input: number) => ValueType;
  readonly outputType: (output: number) => ValueType;
  readonly wants: (output: number) => boolean;
  readonly constant: (input: number) => Tensor | undefined;
  readonly set: (output: number, value: string, layout?: BlockLayout) => void;
  /** What several nodes share, made by the first of them. */
  readonly shared: <T>(key: string, make: () => T) => T;
  /** What `shared` made under a key, if anything. */
  readonly alreadyShared: <T>(key: string) => T | undefined;
  /** Another layout's or node's value by its name in the graph, where it has been lowered. */
  readonly find: (op: string, inputs: readonly string[], layout: BlockLayout) => string | undefined;
}

export type LoweringRule = (context: LoweringContext) => void;

export const blockedDomain = "com.microsoft.nchwc";

export function staticShapeOf({ shape }: ValueType): readonly number[] {
  assert(isStatic(shape), `a lowering needs fixed sizes, got [${shape}]`);
  return shape;
}

export const elementsOf = (type: ValueType): number => sizeOf(staticShapeOf(type));

/** Whether a value may be laid out in blocks of channels. */
export const canBlock = ({ dtype, shape }: ValueType, block: number): boolean =>
  block > 0 &&
  dtype === "float32" &&
  shape.length === 4 &&
  isStatic(shape) &&
  shape[1] % block === 0 &&
  sizeOf(shape) > 0;

export const toBlocked = (emit: Emitter, value: string): string => emit.node(`${blockedDomain}::ReorderInput`, [value]);

export const toPlain = (emit: Emitter, value: string, channels: number): string =>
  emit.node(`${blockedDomain}::ReorderOutput`, [value], { channels });

/** a · bᵀ over the last two axes, batched over the others. */
export function matMulTransposed(
  emit: Emitter,
  a: string,
  b: string,
  { dtype, rank }: { dtype: string; rank: number },
): string {
  if (dtype === "float32") return emit.node("com.microsoft::FusedMatMul", [a, b], { transA: 0, transB: 1 });
  const perm = Array.from({ length: rank }, (_, axis) => axis);
  perm.splice(rank - 2, 2, rank - 1, rank - 2);
  return emit.node("MatMul", [a, emit.transpose(b, perm)]);
}
