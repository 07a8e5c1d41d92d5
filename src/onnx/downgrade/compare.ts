// Equal, Greater, Less, Max and Min took fewer types; Max, Mean, Min and Sum did not broadcast.
import { isFloat } from "../../ir/dtype.ts";
import { type Downgrade, NeedsOpset } from "./downgrade.ts";

export const equalIntegers: Downgrade = {
  before: 11,
  downgrade: ({ node, type }) => {
    const { dtype } = type(node.inputs[0]);
    if (isFloat(dtype)) throw new NeedsOpset(11, `it compares ${dtype}`);
    return [node];
  },
};

export const sameShapes: Downgrade = {
  before: 8,
  downgrade: ({ node, type }) => {
    const shapes = new Set(node.inputs.map((input) => type(input).shape.join()));
    if (shapes.size > 1) throw new NeedsOpset(8, "its inputs differ in shape");
    return [node];
  },
};

/** Greater and Less before 9, Max and Min before 12. */
export const floatsOnly = (before: number): Downgrade => ({
  before,
  downgrade: ({ node, type }) => {
    const { dtype } = type(node.inputs[0]);
    if (!isFloat(dtype)) throw new NeedsOpset(before, `it takes ${dtype}`);
    return [node];
  },
});
