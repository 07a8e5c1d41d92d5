// Casts, and values seen as the type that an operator computes in.
import type { DType } from "../../../ir/dtype.ts";
import { sizeOf } from "../../../ir/tensor.ts";
import { stringAttribute } from "../../../ops/attributes.ts";
import type { LoweringContext, NativeOp } from "../lowering.ts";
import { fixed, type Value } from "../plan.ts";

/** Numbered as native/src/steps/typed.cpp numbers them; what is narrower than a byte is held in one. */
const codes: Readonly<Record<DType, number>> = {
  float32: 0,
  float64: 1,
  float16: 2,
  bfloat16: 3,
  int8: 4,
  uint8: 5,
  int16: 6,
  uint16: 7,
  int32: 8,
  uint32: 9,
  int64: 10,
  uint64: 11,
  bool: 12,
  int4: 4,
  uint4: 5,
  int2: 4,
  uint2: 5,
};

function emitCast({ emit }: LoweringContext, x: Value, y: Value): void {
  const ints = [codes[x.dtype], codes[y.dtype], sizeOf(fixed(x.shape))];
  emit("cast", { inputs: [x], outputs: [y], ints });
}

/** The same numbers in another type. */
export function castTo(lowering: LoweringContext, x: Value, dtype: DType): Value {
  if (x.dtype === dtype) return x;
  const y = lowering.scratch(dtype, x.shape, x.layout);
  emitCast(lowering, x, y);
  return y;
}

/** An input that holds indices, as int64 in row-major order. */
export const indicesOf = (lowering: LoweringContext, i: number): Value =>
  castTo(lowering, lowering.input(i, "plain"), "int64");

const Cast: NativeOp = {
  anyType: true,
  lower: (lowering) => {
    const { node, input, output, define } = lowering;
    const x = input(0);
    if (x.dtype === stringAttribute(node, "to", "")) return define(0, x);
    const y = output(0, x.layout);
    if (y) emitCast(lowering, x, y);
  },
};

export const castOps: Readonly<Record<string, NativeOp>> = { Cast };
