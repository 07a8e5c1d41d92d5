// Equal, Less and Greater took fewer types, Max, Min and Sum did not broadcast.
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
