// Operators on the bits of integers, which have no gradient.
import type { OpDefinition } from "./definition.ts";
import { costPerElement, inferSameDtype, unaryWithoutGradient } from "./pointwise.ts";

const bitwise: OpDefinition = { infer: inferSameDtype(), gradient: "none", cost: costPerElement };

export const BitwiseAnd: OpDefinition = bitwise;
export const BitwiseOr: OpDefinition = bitwise;
export const BitwiseXor: OpDefinition = bitwise;
export const BitwiseNot: OpDefinition = unaryWithoutGradient();
export const BitShift: OpDefinition = bitwise;
