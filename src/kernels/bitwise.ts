// Kernels on the bits of integers: every type goes through 64-bit integers and back.

import { allocate, type Tensor, tensorOf, toNumbers } from "../ir/tensor.ts";
import { stringAttribute } from "../ops/attributes.ts";
import { required } from "./index-maps.ts";
import type { Kernel } from "./kernel.ts";
import { isBig } from "./numbers.ts";
import { applyBig } from "./pointwise.ts";

const toBig = (x: Tensor): Tensor =>
  isBig(x) ? x : { ...x, data: BigInt64Array.from(x.data as ArrayLike<number> & Iterable<number>, BigInt) };

/** Bits beyond the type's are cut off by its array. */
function fromBig(dtype: Tensor["dtype"], { shape, data }: Tensor): Tensor {
  const bits = data as BigInt64Array;
  const result = allocate(dtype, bits.length);
  if (result instanceof BigInt64Array || result instanceof BigUint64Array) result.set(bits);
  else for (let i = 0; i < bits.length; i++) result[i] = Number(BigInt.asIntN(53, bits[i]));
  return { dtype, shape, data: result };
}

const ofBits =
  (prepare: (node: Parameters<Kernel>[1]) => (a: bigint, b: bigint) => bigint): Kernel =>
  (inputs, node) => {
    const [a, b] = [required(inputs, 0), required(inputs, 1)];
    const result = applyBig(prepare(node), { ...toBig(a), dtype: "int64" }, { ...toBig(b), dtype: "int64" });
    return [fromBig(a.dtype, result)];
  };

const not: Kernel = (inputs) => {
  const x = required(inputs, 0);
  if (!isBig(x))
    return [
      tensorOf(
        x.dtype,
        x.shape,
        toNumbers(x).map((value) => ~value),
      ),
    ];
  return [{ ...x, data: (x.data as BigInt64Array).map((value) => ~value) }];
};

export const bitwiseKernels = {
  BitwiseAnd: ofBits(() => (a, b) => a & b),
  BitwiseOr: ofBits(() => (a, b) => a | b),
  BitwiseXor: ofBits(() => (a, b) => a ^ b),
  BitwiseNot: not,
  BitShift: ofBits((node) => {
    const isLeft = stringAttribute(node, "direction", "LEFT") === "LEFT";
    return (a, b) => (isLeft ? a << b : a >> b);
  }),
} satisfies Record<string, Kernel>;
