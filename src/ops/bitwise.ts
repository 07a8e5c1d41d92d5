// Operators on the bits of integers, which have no gradient.
import { choiceAttribute } from "./attributes.ts";
import type { OpDefinition } from "./definition.ts";
import { tied, wholeNumbers } from "./inputs.ts";
import { elementwise, inferBroadcast, unaryWithoutGradient } from "./pointwise.ts";

const bitwise = {
  ...elementwise,
  inputs: [tied(wholeNumbers), tied(wholeNumbers)],
  infer: inferBroadcast(),
  gradient: "none",
} as const;

export const BitwiseAnd: OpDefinition = { ...bitwise, introduced: 18 };
export const BitwiseOr: OpDefinition = { ...bitwise, introduced: 18 };
export const BitwiseXor: OpDefinition = { ...bitwise, introduced: 18 };
export const BitwiseNot: OpDefinition = unaryWithoutGradient({ takes: wholeNumbers, introduced: 18 });
export const BitShift: OpDefinition = {
  ...bitwise,
  introduced: 11,
  infer: (context) => {
    choiceAttribute(context.node, "direction", ["LEFT", "RIGHT"]);
    return bitwise.infer(context);
  },
};
